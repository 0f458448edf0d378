"""Chromium without a window, driven by its DevTools protocol over two pipes: what the tests of pages need, and no more."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome") if os.name == "posix" else ()  # elsewhere pipes are not handed on so
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-extensions", "--remote-debugging-pipe", "about:blank")  # fmt: skip
SECONDS = 60.0  # that anything may take


class Browser:
    """One page of a browser, in a folder of its own."""

    def __init__(self, folder):
        import fcntl  # which Windows does not have

        (read, ours), (mine, write) = os.pipe(), os.pipe()  # the browser reads its file 3 and writes its file 4
        theirs, their = (fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (read, write))  # and not one of these two
        for number in (read, write):
            os.close(number)
        command = f'exec "$0" "$@" 3<&{theirs} 4>&{their}'
        self._log = Path(folder, "chromium.log").open("wb")
        self._process = subprocess.Popen(["bash", "-c", command, FOUND, *FLAGS, f"--user-data-dir={folder}/profile"],
                                         pass_fds=(theirs, their), stdout=self._log, stderr=self._log)  # fmt: skip
        os.close(theirs)
        os.close(their)
        self._write, self._read, self._numbers, self._rest = ours, mine, count(1), b""
        self._session = None
        self.errors = []  # what the page has thrown, and what it has wanted from the network
        targets = self("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """A command of the protocol, and what it gives."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda item: item.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _until(self, wanted):
        end = time.monotonic() + SECONDS
        while True:
            while b"\0" not in self._rest:
                if not select.select([self._read], [], [], end - time.monotonic())[0]:
                    raise TimeoutError(f"the browser has not answered in {SECONDS} seconds")
                read = os.read(self._read, 1 << 20)
                if not read:
                    raise RuntimeError("the browser has ended; see chromium.log")
                self._rest += read
            line, _, self._rest = self._rest.partition(b"\0")
            item = json.loads(line)
            self._note(item)
            if wanted(item):
                return item

    def _note(self, item):
        if item.get("method") == "Runtime.exceptionThrown":
            self.errors.append(item["params"]["exceptionDetails"].get("exception", {}).get("description", "?"))
        if item.get("method") == "Network.requestWillBeSent":
            url = item["params"]["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.errors.append(f"asks for {url}")

    def open(self, path):
        """Show a file, and wait until all of it is there."""
        self.errors.clear()
        self("Page.navigate", url=Path(path).resolve().as_uri())
        self._until(lambda item: item.get("method") == "Page.loadEventFired")

    def evaluate(self, script):
        """What an expression of JavaScript is, as data."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "?"))
        return answer["result"].get("value")

    def press(self, key, code=0):
        """A key, pressed and let go."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def drag(self, selector, by):
        """Move the middle of an element to the right by so many pixels, with the mouse."""
        x, y = self.evaluate(f"""(() => {{
          const element = document.querySelector({selector!r});
          element.scrollIntoView({{block: "center"}});
          const box = element.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")
        way = ("mousePressed", 0, 1), ("mouseMoved", by / 2, 1), ("mouseMoved", by, 1), ("mouseReleased", by, 0)
        for kind, moved, held in way:
            self("Input.dispatchMouseEvent", type=kind, x=x + moved, y=y, button="left", buttons=held, clickCount=1)

    def size(self, width, height, dark=False, mobile=False):
        """The window, and the colours that its user wants."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path):
        """The whole page as a PNG."""
        data = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        """End the process that was started."""
        try:
            self._session = None
            self("Browser.close")
            self._process.wait(10)
        except (RuntimeError, OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        for number in (self._read, self._write):
            os.close(number)
        self._log.close()

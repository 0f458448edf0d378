"""A process on a real terminal."""

import os
import sys

__all__ = ["on_terminal"]


def on_terminal(script, width=None, **environment):
    """What a script in a new process writes to a pseudo-terminal, of a width where that is said; it has to end well."""
    import fcntl
    import pty
    import struct
    import termios

    child, end = pty.fork()
    if child == 0:  # pragma: no cover
        os.environ.pop("COLUMNS", None)
        os.environ.update(environment)
        os.execv(sys.executable, [sys.executable, "-c", script])
    if width is not None:
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    written = b""
    try:
        while piece := os.read(end, 65536):
            written += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(end)
    text = written.decode(errors="replace")
    assert os.waitpid(child, 0)[1] == 0, text
    return text

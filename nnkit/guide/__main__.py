"""``python -m nnkit.guide FOLDER``: the site, in FOLDER/html, of the pages here and of pages made of nnkit itself."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from nnkit.guide.generated import command_line, environment, errors, names, parts, pictures

PAGES = Path(__file__).parent  # in a checkout: pictures, and the table of PyTorch's words, stand beside nnkit


def gather(folder: Path) -> None:
    """Write all that Sphinx reads into a folder; what has not changed keeps its time, so that it is not read again."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PAGES, folder, ignore=shutil.ignore_patterns("__pycache__", "__*.py", "conftest.py", "generated"))
    shutil.copytree(PAGES.parents[1] / "benchmarks" / "pictures", folder / "pictures")
    generated = {
        "errors.md": errors.index(), "messages.md": errors.messages(), "environment.md": environment.page(),
        "command_line.md": command_line.page(), "pytorch.md": parts.PYTORCH.read_text(encoding="utf-8"), **dict(names.pages()),
    }  # fmt: skip
    for path, text in generated.items():
        (folder / "reference" / path).parent.mkdir(exist_ok=True)
        (folder / "reference" / path).write_text(text, encoding="utf-8")
    for name, part in names.registered()["activations"].items():
        pictures.draw(part, folder / "reference" / "activations" / f"{name}.svg")


def main() -> int:
    """Make the site; returns Sphinx's exit status. Warnings are errors."""
    from sphinx.cmd.build import build_main

    parser = argparse.ArgumentParser("python -m nnkit.guide", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the site is made, and what is needed for it kept")
    parser.add_argument("--links", action="store_true", help="follow every link instead, those to other sites as well")
    given = parser.parse_args()
    gather(given.folder / "pages")
    builder = "linkcheck" if given.links else "html"
    status: int = build_main(["-W", "--keep-going", "-q", "-b", builder, "-d", str(given.folder / "trees"),
                       str(given.folder / "pages"), str(given.folder / builder)])  # fmt: skip
    return status


if __name__ == "__main__":
    raise SystemExit(main())

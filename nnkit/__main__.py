"""The command line, ``nnkit`` or ``python -m nnkit``: makes a parser of the commands in `nnkit.commands`, and runs one.

Positional parameters of a function or a class are positional arguments, keyword-only ones are options; type and default come
from the signature, the help from the docstring.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shutil
import sys
import textwrap
import traceback
import types
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, redirect_stderr
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import nnkit
from nnkit.commands import COMMANDS, Command
from nnkit.commands.shell import INTERRUPTED, program
from nnkit.core.calls import nearest
from nnkit.core.terminal import folded, width_of
from nnkit.engine import environment
from nnkit.errors import NnkitError, NnkitWarning, printable

__all__ = ["main"]


def documented(command: Command) -> tuple[str, str, dict[str, str]]:
    """The first sentence of a docstring, the paragraphs after it, and what it says of each parameter."""
    text = inspect.cleandoc(command.__doc__ or "")
    about, *sections = re.split(r"\n\n(?=\w+\n-+\n)", text)
    width = shutil.get_terminal_size().columns - 2
    summary, *paragraphs = (textwrap.fill(paragraph, width) for paragraph in about.split("\n\n"))
    more, described = "\n\n".join(paragraphs), {}
    for section in sections:
        title, _, *lines = section.splitlines()
        if title == "Parameters":
            entries = re.split(r"\n(?=\S)", "\n".join(lines))
            described = {name: " ".join(rest.split()) for name, _, rest in (entry.partition(" : ") for entry in entries)}
        elif title == "Examples":
            more += "\n\nexamples:\n" + "\n".join(f"  {line}" for line in lines)
    return summary, more.strip(), described


def argument(parameter: inspect.Parameter, annotation: Any, described: str) -> tuple[str, dict[str, Any]]:
    """What argparse calls a parameter, and has to know of it."""
    name, default = parameter.name, parameter.default
    option = parameter.kind is parameter.KEYWORD_ONLY
    settings: dict[str, Any] = {"help": described.replace("%", "%%"), "default": argparse.SUPPRESS}
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (item for item in get_args(annotation) if item is not type(None))
    if parameter.kind is parameter.VAR_POSITIONAL:
        settings |= {"nargs": "*", "type": annotation, "default": []}
    elif annotation is bool:
        settings |= {"action": "store_true"}
    elif get_origin(annotation) is Literal:
        settings |= {"choices": get_args(annotation)}
    elif get_origin(annotation) is list:
        settings |= {"action": "append", "type": get_args(annotation)[0]}
    elif isinstance(default, tuple):
        settings |= {"nargs": "+", "action": "extend", "type": get_args(annotation)[0]}
    else:
        settings |= {"type": annotation}
    if option and default is parameter.empty:
        settings |= {"required": True}
    elif default not in (None, (), "", parameter.empty) and default is not False:
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
        settings["help"] += f" (default: {shown.replace('%', '%%')})"
    if not option:
        settings |= {"metavar": name} if "choices" not in settings else {}
        return name, settings | ({} if default is parameter.empty else {"nargs": "?", "default": default})
    if "choices" not in settings and annotation is not bool:
        settings["metavar"] = name.rstrip("s").upper() if isinstance(default, tuple) else name.upper()
    return f"--{name.replace('_', '-')}", settings


class Parser(argparse.ArgumentParser):
    """Says what is wrong in whole words, however narrow the terminal is."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, told(f"{self.prog}: error: {message}") + "\n")


def told(message: str) -> str:
    """A message as it is printed to standard error."""
    text = printable(message)
    return folded(text, width_of(sys.stderr, len(text)))


def usage(name: str, parameters: Iterable[inspect.Parameter]) -> str:
    """The shortest call of a command: the options that may be left out are a list of their own."""
    words = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY:
            words += [f"--{parameter.name.replace('_', '-')} {parameter.name.upper()}"] * (parameter.default is parameter.empty)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            words.append(f"[{parameter.name} ...]")
        else:
            words.append(parameter.name if parameter.default is parameter.empty else f"[{parameter.name}]")
    width = shutil.get_terminal_size().columns - len("usage: ")
    return folded(" ".join([program(), name, *words, "[options]"]), max(width, 20))


def parser() -> Parser:
    """The parser of all commands."""
    both = Parser(add_help=False)
    both.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS,
                      help="show where in the code an error arose (NNKIT_TRACEBACK=1 does, too)")  # fmt: skip
    whole = Parser(
        program(), f"{program()} command [options]", "Neural networks on the CPU.",
        f"{program()} demo shows what nnkit does; {program()} COMMAND --help says what a command takes.", [both],
        allow_abbrev=False,
    )  # fmt: skip
    whole.add_argument("--version", action="version", version=f"nnkit {nnkit.__version__}")
    commands = whole.add_subparsers(dest="command", metavar="command")
    for name, command in COMMANDS.items():
        summary, more, described = documented(command)
        parameters = inspect.signature(command).parameters.values()
        added = commands.add_parser(
            name, prog=f"{program()} {name}", usage=usage(name, parameters), help=summary, description=summary, epilog=more,
            parents=[both], allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        hints = get_type_hints(command)
        for parameter in parameters:
            flag, settings = argument(parameter, hints[parameter.name], described[parameter.name])
            added.add_argument(flag, **settings)
    return whole


def run(command: Command, given: dict[str, Any]) -> int:
    """Call a command with what the command line gives it."""
    positional = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += given.pop(parameter.name)
        elif parameter.kind is not parameter.KEYWORD_ONLY and parameter.name in given:
            positional.append(given.pop(parameter.name))
    done = command(*positional, **given)
    status = done if isinstance(done, int) else done.run()
    if sys.stdout is not None:
        sys.stdout.flush()  # here, where a reader that has gone, or a full disk, is noticed
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    whole = parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    if wanted is not None and wanted not in COMMANDS and (near := nearest(wanted, COMMANDS)):
        whole.error(f"no command is called {wanted!r}; did you mean {near}?")
    parsed, rest = whole.parse_known_args(arguments)
    given = vars(parsed)
    name = given.pop("command")
    if name is None:
        whole.print_help()
        return 0
    if rest:
        options = [f"--{option.replace('_', '-')}" for option in inspect.signature(COMMANDS[name]).parameters]
        near = nearest(rest[0].partition("=")[0], options) if rest[0].startswith("--") else None
        hint = f"did you mean {near}? " if near else ""
        whole.error(f"{name}: unrecognized arguments: {' '.join(rest)}; {hint}{program()} {name} --help says which there are")
    shown = given.pop("traceback", False) or environment.word("NNKIT_TRACEBACK", "0", "1") == "1"

    def say(what: str, message: object) -> None:
        print(told(f"{program()} {name}: {what}: {message}"), file=sys.stderr)

    def warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, NnkitWarning):
            say("warning", message)
        else:
            before(message, category, *where, **more)

    with ExitStack() as stack, warnings.catch_warnings():
        if sys.stderr is None:  # closed by who has started this: messages are for nobody, and not for standard output
            stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        before, warnings.showwarning = warnings.showwarning, warn
        try:
            return run(COMMANDS[name], given)
        except NnkitError as error:
            if shown:
                traceback.print_exc()
            say("error", error)
            return 1
        except MemoryError as error:
            say("error", f"there is not enough memory ({error})")
            return 1
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # such as that of `| head -1`
                say("error", error)
            try:
                print(end="", flush=True)
            except OSError:  # it is the output that fails
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends
            return 1
        except KeyboardInterrupt:
            if shown:
                traceback.print_exc()
            print(f"\n{program()} {name}: interrupted", file=sys.stderr)
            return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())

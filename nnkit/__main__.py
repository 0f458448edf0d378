"""The command line: ``python -m nnkit demo``, ``list``, ``check module:Class`` and ``warmup``."""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable, Sequence

__all__ = ["main"]

EPOCHS = 60


def demo() -> int:
    """Train a classifier of handwritten digits, and watch."""
    from rich.console import Console
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    import nnkit as nn

    console = Console(highlight=False)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.2, stratify=y, random_state=0)
    model = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)])
    console.print(f"[bold]{len(X)} handwritten digits, a net of 64-128-64-10 units, {EPOCHS} epochs[/]")

    begin = time.perf_counter()
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = nn.AdamW(lr=3e-3, weight_decay=0.1, schedule="one_cycle")
    history = model.fit(X, y, loss=loss, optimizer=optimizer, epochs=EPOCHS, random_state=0)
    wall = time.perf_counter() - begin
    accuracy = float((model.predict(X_test).argmax(axis=1) == y_test).mean())

    console.print(f"test accuracy   [bold green]{accuracy:.4f}[/]  on {len(X_test)} digits it has not seen")
    console.print(f"compiling       {history.compile_seconds:.2f} s  (kept on disk: the next start only loads it)")
    console.print(f"training        {wall - history.compile_seconds:.2f} s  for {history.steps} steps, "
                  f"{1e6 * history.seconds / history.steps:.0f} us each")  # fmt: skip
    console.print()
    console.print("Next:  README.md    a net of your own in ten lines")
    console.print("       make test    lint, types and tests")
    console.print("       make bench   side by side with PyTorch, JAX and scikit-learn")
    return 0


def list_parts() -> int:
    """Print the names of all parts, by kind and by the distribution that they come from."""
    from rich.console import Console
    from rich.table import Table

    from nnkit import registry
    from nnkit.core import plugins

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind in registry.__all__:
        names: dict[str, list[str]] = {}
        for key, part in sorted(getattr(registry, kind).items()):
            names.setdefault(" ".join(plugins.provider(part)), []).append(key)
        for origin, keys in sorted(names.items(), key=lambda item: (not item[0].startswith("nnkit "), item[0])):
            table.add_row(f"[bold]{kind}[/]", f"[dim]{origin}[/]", ", ".join(keys))
            kind = ""
    console = Console(highlight=False)
    console.print(table)
    for plugin, error in plugins.failures.items():
        console.print(f"left out: {plugin}, which cannot be loaded ({type(error).__name__}: {error})", markup=False)
    if plugins.left_out():
        console.print(f"left out: {plugins.left_out()}, by NNKIT_PLUGINS or NNKIT_PLUGINS_BLOCK", markup=False)
    return 0


def check(target: str) -> int:
    """Check parts: module:Class, module, file.py, or the name of an installed distribution."""
    from rich.console import Console
    from rich.markup import escape

    from nnkit.testing import CheckError
    from nnkit.testing.checks import examples_of, findings, report
    from nnkit.testing.plugin import docstring_examples_run, find

    console = Console(highlight=False, soft_wrap=True)
    wrong = 0

    def show(what: str, error: CheckError | None) -> None:
        nonlocal wrong
        wrong += error is not None
        console.print(f"  [green]right[/]  {what}" if error is None else f"  [red]wrong  {what}[/]")
        if error is not None:
            console.print(f"         {escape(str(error))}")

    try:
        for part in find(target):
            for example in examples_of(part):
                console.print(f"[bold]{escape(repr(example.part))}[/]")
                passed = []
                for item, error in findings(example):
                    show(item.__name__, error)
                    passed += [item] if error is None else []
                if not wrong:
                    for line in repr(report(example, passed)).splitlines()[1:]:
                        console.print(f"[dim]{escape(line)}[/]")
            docstring_examples_run(part)
    except CheckError as error:
        wrong += 1
        console.print(f"[red]wrong[/]  {escape(str(error))}")
    console.print("[bold red]not all is right[/]" if wrong else "[bold green]all is right[/]")
    return int(wrong > 0)


def warmup() -> int:
    """Compile the float32 kernels of all parts ahead, on all cores; they are kept on disk."""
    from rich.progress import track

    from nnkit.engine.stub import cache_folder
    from nnkit.warmup import parts, warm_up

    begin, total = time.perf_counter(), len(parts())
    cpu = sum(track(warm_up(), "compiling", total + 2))
    print(f"{total} parts in {time.perf_counter() - begin:.0f} s, {cpu:.0f} s of it compiling, summed over all cores")
    print(f"kernels are kept in {cache_folder()}")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {"demo": demo, "list": list_parts, "check": check, "warmup": warmup}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nnkit", description="Neural networks on the CPU.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        about = (command.__doc__ or "").splitlines()[0]
        added = commands.add_parser(name, help=about, description=about)
        for parameter in inspect.signature(command).parameters:
            added.add_argument(parameter)
    given = vars(parser.parse_args(arguments))
    return COMMANDS[given.pop("command")](**given)


if __name__ == "__main__":
    raise SystemExit(main())

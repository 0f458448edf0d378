"""``nnkit demo``."""

from __future__ import annotations

import time

__all__ = ["demo"]

EPOCHS = 60


def demo() -> int:
    """Train a classifier of handwritten digits, and watch."""
    from rich.console import Console
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    import nnkit as nn
    from nnkit.engine.cache import kernel_cache
    from nnkit.engine.stub import statistics

    console = Console(highlight=False)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.2, stratify=y, random_state=0)
    model = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)])
    console.print(f"[bold]{len(X)} handwritten digits, a net of 64-128-64-10 units, {EPOCHS} epochs[/]")

    begin, compiled = time.perf_counter(), statistics.compiled
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = nn.AdamW(lr=3e-3, weight_decay=0.1, schedule="one_cycle")
    history = model.fit(X, y, loss=loss, optimizer=optimizer, epochs=EPOCHS, random_state=0)
    wall = time.perf_counter() - begin
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    accuracy = float((model.predict(X_test).argmax(axis=1) == y_test).mean())

    console.print(f"test accuracy   [bold green]{accuracy:.4f}[/]  on {len(X_test)} digits it has not seen")
    if statistics.compiled > compiled:
        kept = "kept on disk: the next start only loads it" if not kernel_cache.refusal else "not kept, as the warning says"
        console.print(f"compiling       {history.compile_seconds:.2f} s  ({kept})")
    else:
        console.print(f"loading         {history.compile_seconds:.2f} s  (of kernels that were compiled before)")
    console.print(f"training        {wall - history.compile_seconds:.2f} s  for {history.steps} steps, "
                  f"{1e6 * history.seconds / history.steps:.0f} us each")  # fmt: skip
    console.print()
    console.print("Next:  nnkit docs    the guide: a net of your own in ten lines, and more")
    console.print("       nnkit train   a table of yours: nnkit train data.csv --target column")
    console.print("       nnkit bench   side by side with PyTorch, JAX and scikit-learn")
    return 0

"""What a profile tells: each kernel of a training step with its time, what the whole step is made of; as tables, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnkit.inspect.pictures.figure import COLOURS, drawing, new_axes
from nnkit.inspect.pictures.table import Table, number, several, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["KernelTime", "Portion", "Profile"]

BARS = 30  # of a picture
REST = "rest of the loop"
STAGES = {"gather": COLOURS[5], "forward": COLOURS[1], "loss": COLOURS[4], "backward": COLOURS[2], "update": COLOURS[3],
          REST: "#999999", "Python": COLOURS[7]}  # fmt: skip


@dataclass(frozen=True)
class KernelTime:
    """What a kernel costs in a step, all shards together.

    Attributes
    ----------
    layer : "0 Linear(out_features=128)"; or what else it belongs to: "data", the loss, the optimizer
    kernel : its function: "forward", "backward", "backward_x", ...
    stage : "gather", "forward", "loss", "backward" or "update"
    us : microseconds per step, the median
    share : of the time of all kernels, from 0 to 1
    gflops : GFLOP/s of one core, counted as in `Summary`; None where no multiplications are counted
    peak : of the fastest matrix product on this machine in the model's dtype, from 0 to 1; None likewise
    bytes : sizes of the arrays that it works on, together; those of a batch for all its rows, and of the data only the batch
    in_place : whether it writes into the memory of its input
    code : "tiles" (products of nnkit's, in vector registers), "BLAS", "x16" (numbers at once), "scalar", "Python", or several
    """

    layer: str
    kernel: str
    stage: str
    us: float
    share: float
    gflops: float | None
    peak: float | None
    bytes: int
    in_place: bool
    code: str

    @property
    def name(self) -> str:
        """Whose it is and what it is called."""
        return f"{self.layer} {self.kernel}".strip()

    @property
    def gigabytes_per_second(self) -> float:
        """What it touches, by the time that it takes."""
        return 1e-3 * self.bytes / self.us if self.us > 0 else 0.0


@dataclass(frozen=True)
class Portion:
    """A part of a step's time: microseconds on the clock on the wall, and of the whole, from 0 to 1."""

    name: str
    us: float
    share: float


@dataclass(frozen=True)
class Profile:
    """What a training step costs, and where; see `Sequential.profile`.

    Copies of the model are trained for some steps, as `fit` begins to, on batches from all over the data, with the clock read
    between the kernels, and without; the fastest counts. What is not compiled yet is compiled before, and the speed of the
    machine is measured once in a process (0.3 s).

    Attributes
    ----------
    kernels : in the order of a step
    split : gather, forward, loss, backward, update, the rest of the loop (calls, meetings, waiting for other threads), and
        Python
    step_us : a step of the compiled loop, with the clock read once in it
    clocked_us : a step with the clock read around every kernel
    fit_us : the same with what `fit` does in Python between, without its planning
    once_ms : what a `fit` takes beside its steps, once: to check the data, plan, and start its threads
    reading_us : what it takes to read the clock; subtracted everywhere
    steps : how many the medians are of
    batch_size, shards, threads : of the fit
    peak_gflops : of one core
    compiled, compile_seconds : kernels that were compiled for this, and what that took
    title : the model's size

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.Linear(16), nn.ReLU(), nn.Linear(1)])
    >>> profile = model.profile(np.ones((64, 4)), np.ones((64, 1)), seconds=0.01)
    >>> [kernel.name for kernel in profile.kernels if kernel.stage == "forward"]
    ['0 Linear forward', '1 ReLU forward', '2 Linear forward']
    >>> profile.step_us > 0
    True
    """

    kernels: list[KernelTime]
    split: list[Portion]
    step_us: float
    clocked_us: float
    fit_us: float
    once_ms: float
    reading_us: float
    steps: int
    batch_size: int
    shards: int
    threads: int
    dtype: str
    peak_gflops: float
    compiled: int
    compile_seconds: float
    title: str

    def __str__(self) -> str:
        return f"{self._kernel_table}\n\n{self._split_table}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div>{self._kernel_table._repr_html_()}{self._split_table._repr_html_()}</div>"

    @property
    def _kernel_table(self) -> Table:
        headers = ["kernel", "us", "%", "GFLOP/s", "peak", "kB", "GB/s", "code"]
        rows = [
            [item.name, number(item.us), _percent(item.share), _or_dash(item.gflops), _percent(item.peak),
             number(1e-3 * item.bytes), number(item.gigabytes_per_second), item.code + ("*" if item.in_place else " ")]
            for item in self.kernels
        ]  # fmt: skip
        notes = [
            "us: median time in a step, all shards together.",
            "GFLOP/s: of one core, 2 for each multiply-add, roughly, counted from the shapes.",
            f"peak: % of {number(self.peak_gflops)} GFLOP/s, the best product of matrices ({self.dtype}, one core).",
            "kB: sizes of the arrays that it works on.",
            "tiles: products of vectors in registers; x16: loops work on 16 numbers at once; scalar: on one;",
            "*: in place, over its input.",
            "Beside working in place, and a loss with its gradient, no kernels are fused.",
        ]
        return Table(f"A training step, kernel by kernel: {self.title}", headers, rows, notes=notes)

    @property
    def _split_table(self) -> Table:
        rows = [[part.name, number(part.us), _percent(part.share)] for part in self.split]
        notes = [
            f"A step: {several(self.batch_size, 'row')} in {several(self.shards, 'shard')} on "
            f"{several(self.threads, 'thread')}. Medians of {self.steps} steps.",
            f"In the compiled loop it takes {number(self.step_us)} us; with the clock read around every kernel "
            f"{number(self.clocked_us)} us",
            f"(a reading takes {number(1e3 * self.reading_us)} ns, subtracted above); as part of fit {number(self.fit_us)} us.",
            f"Beside its steps, a fit takes {number(self.once_ms)} ms to plan and start"
            + (f"; compiling {several(self.compiled, 'kernel')}, once, took {number(self.compile_seconds)} s."
               if self.compiled else "; all kernels were compiled before."),
        ]  # fmt: skip
        return Table("The whole step", ["part", "us", "%"], rows, notes=notes)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the kernels as bars, in the order of a step, and above them what the whole step is made of.

        Where there are many kernels, those that take least are one bar.

        Parameters
        ----------
        ax : matplotlib axes, with room for another bar above; a new figure by default

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingLibraryError
            matplotlib is not installed.
        """
        shown = self._longest(BARS)
        size = 8.0, 0.27 * len(shown) + 2.4
        with drawing("Profile.plot") as plt:
            ax = new_axes(plt, ax, size)
            self._draw_kernels(ax, shown)
            inch = ax.figure.dpi / ax.get_window_extent().height
            self._draw_split(ax.inset_axes((0, 1 + 0.6 * inch, 1, 0.3 * inch)))
        return ax

    def _longest(self, most: int) -> list[tuple[str, str, float, float | None]]:
        """Name, stage, time and share of the peak of the kernels that take longest, in order; the others as one."""
        kernels = self.kernels
        longest = {*sorted(range(len(kernels)), key=lambda index: kernels[index].us)[-most:]}
        shown = [(item.name, item.stage, item.us, item.peak) for index, item in enumerate(kernels) if index in longest]
        others = [item.us for index, item in enumerate(kernels) if index not in longest]
        return [*shown, (f"{len(others)} others", REST, sum(others), None)] if others else shown

    @staticmethod
    def _draw_kernels(ax: Axes, shown: Sequence[tuple[str, str, float, float | None]]) -> None:
        longest = max(us for _, _, us, _ in shown) or 1.0
        for place, (_, stage, us, peak_share) in enumerate(shown):
            ax.barh(place, us, color=STAGES[stage], height=0.75)
            told = f"{number(us)} us" + ("" if peak_share is None else f", {_percent(peak_share)} % of peak")
            ax.text(us + 0.01 * longest, place, told, va="center", fontsize=9)
        ax.set_yticks(range(len(shown)), [shortened(name, 40) for name, *_ in shown], fontsize=9)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_xlim(0, 1.3 * longest)
        ax.set_xlabel("us per step, all shards together")

    def _draw_split(self, ax: Axes) -> None:
        left = 0.0
        for part in self.split:
            label = f"{part.name} {_percent(part.share)} %"
            ax.barh(0, part.us, left=left, color=STAGES[part.name], label=label, height=1.0)
            left += part.us
        ax.set_xlim(0, left or 1.0)
        ax.set_axis_off()
        what = f"{several(self.batch_size, 'row')} on {several(self.threads, 'thread')}"
        ax.set_title(f"A training step of {what}: {number(left)} us", fontsize=11)
        ax.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.02), ncols=4, fontsize=9, handlelength=1.0, borderaxespad=0.2,
                  columnspacing=1.2, labelspacing=0.3)  # fmt: skip


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}" if share < 0.0995 else f"{100 * share:.0f}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value)

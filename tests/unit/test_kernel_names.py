"""What kernels may name: each of it works as in Python, or one sentence says what to write instead."""

import enum
import functools
import linecache
import math  # noqa: F401 - named in expressions
import operator
import sys  # noqa: F401
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

import nnkit as nn
from nnkit.engine.operands import Array
from nnkit.engine.program import Instruction, Program
from nnkit.engine.source import definition
from nnkit.engine.stub import Kernel, kernel


class Mode(enum.IntEnum):
    ONE = 1
    TWO = 2


class Shade(enum.Enum):
    LIGHT = 0.25


class Bits(enum.IntFlag):
    FOUR = 4


class Real(float, enum.Enum):
    HALF = 0.5


@dataclass
class Config:
    rate: float = 0.25
    count: int = 3


class Pair(NamedTuple):
    first: float
    second: int


class Holder:
    RATE = 0.75

    @staticmethod
    def twice(x):
        return 2.0 * x

    @classmethod
    def thrice(cls, x):
        return 3.0 * x

    @property
    def computed(self):
        return 1.0 + Holder.RATE


CONFIG, PAIR, HOLDER, TWO, NONE = Config(), Pair(1.5, 2), Holder(), Mode.TWO, None
WORDS, TABLE, SET, LIST = "mean", {"a": 1.0}, {1, 2}, [1.0, 2.0]
squared = lambda x: x * x  # noqa: E731
bound = functools.partial(operator.mul, 2.0)


def factorial(n):
    return 1.0 if n <= 0 else n * factorial(n - 1)


def even(n):
    return 1.0 if n <= 0 else odd(n - 1)


def odd(n):
    return 0.0 if n <= 0 else even(n - 1)


WORK = """
Mode.TWO * x[0]
Mode.ONE.value + x[0]
TWO * x[0]
x[0] if TWO == Mode.TWO else 0.0
Shade.LIGHT.value * x[0]
Bits.FOUR * x[0]
Real.HALF * x[0]
CONFIG.rate * x[0] + CONFIG.count
Config.rate * x[0]
PAIR.first * x[0] + PAIR.second + PAIR[0]
Holder.twice(x[0]) * Holder.RATE
HOLDER.computed * x[0] + HOLDER.RATE
math.pi * x[0] + math.floor(x[0]) + math.hypot(3.0, x[0])
np.maximum(x[0], np.e) + np.sqrt(x[0])
operator.add(x[0], 1.0)
sys.float_info.epsilon + x[0]
1.0 if NONE is None else 2.0
divmod(x[0], 2.0)[1]
"""
INSTEAD = """
Shade.LIGHT * x[0]  ->  write Shade.LIGHT.value, or derive Shade from enum.IntEnum
Mode.THREE * x[0]  ->  Mode.THREE does not exist
CONFIG.rates * x[0]  ->  CONFIG.rates does not exist; did you mean 'rate'?
math.coz(x[0])  ->  math.coz does not exist; did you mean 'cos'?
Holder.thrice(x[0])  ->  got thrice, a method; take a plain function (def)
squared(x[0])  ->  got a lambda; write def, with a return
bound(x[0])  ->  take a plain function (def)
factorial(x[0])  ->  expected functions that do not call themselves, be it through others, got factorial; write a loop
even(x[0])  ->  expected functions that do not call themselves, be it through others, got even; write a loop
1.0 if WORDS == "mean" else 0.0  ->  give each of its values a number, such as a member of an enum.IntEnum
TABLE["a"]  ->  write its numbers as a tuple, or each under a name of its own
1.0 if 1 in SET else 0.0  ->  write its numbers as a tuple
LIST[0]  ->  self.constant('LIST', ...)
CONFIG  ->  name its attributes one by one
sum(x)  ->  a builtin that compiled code does not have; add up in a loop
pow(x[0], 2)  ->  write x ** y
print(x[0])  ->  engine='python' of fit
(lambda z: z)(x[0])  ->  expected no lambda within a kernel or what it calls; write it outside
sum([v for v in x])  ->  add up in a loop
np.sum(np.array([v for v in x]))  ->  expected no comprehension within a kernel or what it calls; write a loop
"""


def kernel_of(expression):
    """A function that stores an expression, with the names of this module."""
    text = f"def stored(x, out):\n    out[0] = {expression}\n"
    space = dict(globals())
    exec(compile(text, "<typed in a test>", "exec"), space)
    space["stored"].source = text
    return space["stored"]


def run(function, real):
    x, out = np.array([1.5, 2.5], real), np.full(1, np.nan, real)
    program = Program([Instruction(function, (Array.view(x), Array.view(out)), "Test", "forward")], real)
    program.run()
    return out[0]


@pytest.mark.parametrize("expression", WORK.strip().splitlines())
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_what_works(expression, real):
    function, out = kernel_of(expression), np.full(1, np.nan, real)
    function(np.array([1.5, 2.5], real), out)
    np.testing.assert_allclose(run(function, real), out[0], rtol=1e-6)
    operands = [Array.view(np.zeros(1, real))] * 2
    assert kernel(function, operands, real) is kernel(function, operands, real)  # and is as it was: it is not made again


@pytest.mark.parametrize("case", INSTEAD.strip().splitlines())
def test_what_is_written_instead(case):
    expression, words = case.split("  ->  ")
    with pytest.raises(nn.KernelError) as caught:
        run(kernel_of(expression), "float64")
    assert words in str(caught.value)


def with_a_function_within(x, out):
    def doubled(z):
        return 2.0 * z

    out[0] = doubled(x[0])


def test_a_function_within_is_refused():
    """Numba would leave out what is written into arrays beside one."""
    with pytest.raises(nn.KernelError, match="expected no function within a kernel or what it calls; write it outside"):
        run(with_a_function_within, "float64")


def test_a_name_that_is_assigned_later_is_refused():
    def kernel_around():
        def stored(x, out):
            out[0] = later

        yield stored
        later = 1.0

    with pytest.raises(nn.KernelError, match="expected all of later to be there before the function is compiled"):
        run(next(kernel_around()), "float64")


def test_an_attribute_that_changes_makes_another_kernel():
    function = kernel_of("CONFIG.rate * x[0]")
    assert run(function, "float64") == 0.375
    function.__globals__["CONFIG"].rate = 2.0
    try:
        assert run(function, "float64") == 3.0
    finally:
        CONFIG.rate = 0.25


def test_kernels_typed_at_a_prompt_that_keeps_their_source(monkeypatch):
    """Since Python 3.13, `linecache` has it by the code, not by the name of a file."""
    text = "def stored(x, out):\n    out[0] = 2.0 * x[0]\n"
    space = {"__name__": "__main__"}
    exec(compile(text, "<stdin>", "exec"), space)
    kept = {("stored", 1): text.splitlines(keepends=True)}
    monkeypatch.setattr(linecache, "_getlines_from_code",
                        lambda code: kept.get((code.co_name, code.co_firstlineno), []), raising=False)  # fmt: skip
    assert definition(space["stored"]).name == "stored"
    assert Kernel(space["stored"], [Array.view(np.zeros(1))] * 2, "float64").address
    exec(compile(text.replace("stored", "another"), "<stdin>", "exec"), space)
    with pytest.raises(nn.KernelError, match="typed at Python's prompt, which keeps no source"):
        definition(space["another"])

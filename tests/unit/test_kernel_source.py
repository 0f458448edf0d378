"""Which source a kernel is compiled from, and what its name in the cache covers."""

import argparse
import ast
import dataclasses
import fractions
import functools
import importlib
import importlib.util
import linecache
import statistics
import sys
import textwrap
import time
import types
import zipfile

import numba
import numpy as np
import pytest
from numba.core import config

import nnkit as nn
from nnkit.engine import fingerprint, source
from nnkit.engine.fingerprint import is_overloaded, of_module, of_value
from nnkit.engine.operands import Array
from nnkit.engine.source import definition
from nnkit.engine.stub import Kernel, kernel
from nnkit.kernels import jit


def module_of(path, text, name="made_for_a_test"):
    """Import a file under a name."""
    path.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OPERANDS = [Array.view(np.zeros(3)), Array.view(np.ones(3))]


def kernel_of(function):
    return Kernel(function, OPERANDS, "float64")


# ------------------------------------------------------------------------------------------- the text of a function


def functions_of(home):
    """The functions with a text in a class or module, static methods too."""
    for value in vars(home).values():
        function = getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType) and function.__code__.co_filename.endswith(".py"):
            if function.__name__ != "<lambda>":
                yield function


def test_no_false_alarm():
    """Whatever the compiler of this Python makes of a text, it makes of it again: all kernels, and much of the library."""
    kinds = nn.registry.layers, nn.registry.activations, nn.registry.losses, nn.registry.optimizers
    homes = [part for kind in kinds for part in kind.values()]
    for module in (argparse, dataclasses, fractions, statistics, textwrap, zipfile):
        homes += [module, *(value for value in vars(module).values() if isinstance(value, type))]
    functions = {function for home in homes for function in functions_of(home)}
    assert len(functions) > 600
    for function in functions:
        assert isinstance(definition(function), ast.FunctionDef)


def test_what_is_no_plain_function_is_refused_for_what_it_is():
    async def waits(x):
        return x

    for function in (waits, lambda x: x):
        with pytest.raises(nn.KernelError, match="expected a plain function"):
            definition(function)


SHAPES = '''
    """Functions of many kinds."""
    from __future__ import annotations
    import functools
    import math as m
    import numba
    import numpy as np
    from numpy import exp

    K = 2.0

    def plain(x, out):
        """With a text
           in several lines, and one at the margin:
    here."""
        # and a comment
        out[0] = x[0] * K + m.exp(1.0) + exp(1.0)

    class Part:
        __private = 3

        @staticmethod
        def static(x: np.ndarray, out: "anything" = None) -> None:
            y: int = 1
            out[0] = sum(v for v in x) if y else (1, 2.0, "a", None, -0.0)

        def method(self, x):
            return self.__private * x

        class Inner:
            @staticmethod
            def deep(x): return [lambda z=v: z + x for v in x]

    def factory(factor, offset):
        def closure(x, out):
            out[0] = factor * x[0] + offset
        class Local:
            @staticmethod
            def static(x, out):
                out[0] = factor * np.sqrt(x[0])
        return closure, Local.static

    @numba.njit(
        fastmath=True,
    )
    def jitted(x):
        return x + 1
    '''


def test_functions_of_many_kinds_are_recognised(tmp_path):
    module = module_of(tmp_path / "shapes.py", SHAPES)
    functions = [module.plain, module.Part.static, module.Part.method, module.Part.Inner.deep, *module.factory(2.0, 1.0),
                 module.jitted.py_func]  # fmt: skip
    assert [definition(function).name for function in functions] == [
        "plain", "static", "method", "deep", "closure", "static", "jitted",
    ]  # fmt: skip


def test_cells_of_notebooks_are_recognised():
    """A cell has no file and no imports of its own; what was executed is in the line cache."""
    text = "def scaled(x, out):\n    out[0] = np.exp(x[0])\n"
    name = "<cell 1 of a test>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace = {"np": np, "__name__": "__main__"}
    exec(compile(text, name, "exec"), namespace)
    assert definition(namespace["scaled"]).name == "scaled"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x[0] * 2", "x[0] * 3"), ("x[0] * 2", "x[0] * 2.0"), ("* 2", "+ 2"), ("x[0] * 2", "y[0] * 2"), ("abs", "len"),
        ("(x, y", "(y, x"), ("1, 0.0", "1, -0.0"), ("def f", "def g"), ("return", "retur"), ("def f", "@\ndef f"),
        ("def f", "def g():\n    return 1\ndef f"), ("    return abs", "        return abs"), (") + z", ")\n    + z"),
    ],
)  # fmt: skip
def test_edited_file_is_an_error(tmp_path, monkeypatch, before, after):
    monkeypatch.setattr(source, "_texts", {})
    text = "def f(x, y, k=1):\n    z = (1, 0.0)\n    return abs(x[0] * 2) + z\n"
    module = module_of(tmp_path / "edited.py", text)
    (tmp_path / "edited.py").write_text(text.replace(before, after))
    with pytest.raises(nn.KernelError, match=r"edited.py, line 1, got another one; the file has changed on disk: reload"):
        definition(module.f)
    (tmp_path / "edited.py").write_text(text + "\n# more below\n")
    assert definition(module.f).name == "f"
    (tmp_path / "edited.py").write_text("")
    assert definition(module.f).name == "f"  # what was right once serves for good


def test_file_that_is_gone_is_an_error(tmp_path):
    module = module_of(tmp_path / "gone.py", "def f(x):\n    return x\n")
    (tmp_path / "gone.py").unlink()
    with pytest.raises(nn.KernelError, match=r"source can be read, got one without a file .*gone.py"):
        definition(module.f)


def test_lines_added_above_do_not_make_another_classs_kernel(script, tmp_path):
    """The line where Tenfold's kernel began is now the one where Double's begins."""
    parts = """\
import nnkit as nn
class Tenfold(nn.Layer):
    def build(self, in_shape):
        return in_shape
    @staticmethod
    def forward(x, out):
        out[:] = 10.0 * x
    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = 10.0 * grad_out
"""
    double = parts.partition("\n")[2].replace("Tenfold", "Double").replace("10.0", "2.0")
    (tmp_path / "parts.py").write_text(parts)
    text = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import numpy as np, nnkit as nn, pathlib, parts
        one = np.ones((1, 1))
        pathlib.Path(parts.__file__).write_text({"import nnkit as nn" + chr(10) + double + parts!r})
        try:
            print(nn.Sequential([parts.Tenfold()]).build((1,)).predict(one)[0, 0])
        except nn.KernelError as error:
            print(error)
        import importlib
        parts = importlib.reload(parts)
        print([nn.Sequential([part()]).build((1,)).predict(one)[0, 0] for part in (parts.Tenfold, parts.Double)])
    """
    error, values = script(text, NNKIT_CACHE_DIR=str(tmp_path / "cache")).splitlines()
    assert "parts.Tenfold.forward" in error and "changed on disk" in error
    assert values.replace("np.float32", "").replace("(", "").replace(")", "") == "[10.0, 2.0]"


# -------------------------------------------------------------------------------------------- what the name covers

# Three files; FACTOR is what changes in two of them. Every kernel's result says which FACTOR it was compiled with.
CONSTANTS = """
    INTRINSIC = FACTOR
    ATTRIBUTE = FACTOR
    OVERLOADED = FACTOR
"""
HELPERS = """
    import numba
    from numba import types
    from numba.extending import intrinsic, overload, register_jitable
    import numpy as np
    import constants

    @numba.njit
    def inner(x):
        return x * FACTOR

    @numba.vectorize
    def ufunc(x):
        return inner(x)

    @numba.vectorize(["float64(float64)", "float32(float32)"])
    def eager(x):
        return x * FACTOR

    @intrinsic
    def lowered(typing, x):
        def generate(context, builder, signature, args):
            return builder.fmul(args[0], constants_of(context, signature.return_type))
        return x(x), generate

    def constants_of(context, kind):
        return context.get_constant(kind, constants.INTRINSIC)

    def overloaded(x):
        raise NotImplementedError("compiled code only")

    @overload(overloaded)
    def _overloaded(x):
        factor = constants.OVERLOADED
        return lambda x: x * factor

    @register_jitable
    def jitable(x, factor=constants.ATTRIBUTE):
        return x * factor

    def factory(factor):
        @numba.njit
        def closure(x):
            return x * factor
        return closure

    closure = factory(FACTOR)
"""
USE = """
    import sys
    sys.path.insert(0, {folder!r})
    import numpy as np, nnkit as nn
    import helpers, constants
    from helpers import closure, eager, inner, jitable, lowered, overloaded, ufunc as renamed
    from nnkit.engine.operands import Array
    from nnkit.engine.stub import Kernel, statistics

    def k_ufunc(x, out): out[0] = renamed(x[0])
    def k_attribute(x, out): out[0] = helpers.ufunc(x[0])
    def k_eager(x, out): out[0] = eager(x[0])
    def k_njit(x, out): out[0] = inner(x[0])
    def k_intrinsic(x, out): out[0] = lowered(x[0])
    def k_overload(x, out): out[0] = overloaded(x[0])
    def k_jitable(x, out): out[0] = jitable(x[0])
    def k_closure(x, out): out[0] = closure(x[0])
    def k_constant(x, out): out[0] = x[0] * constants.ATTRIBUTE

    one = np.ones(1)
    for name, function in list(vars().items()):
        if name.startswith("k_"):
            out = np.zeros(1)
            operands = Array.view(one), Array.view(out)
            words = [np.zeros(64, np.int64).ctypes.data]
            for operand in operands:
                words += [operand.address(0), *operand.words()[1:]]
            frame = np.array(words, np.int64)
            nn.engine.operands.NATIVE(Kernel(function, operands, "float64").address)(frame.ctypes.data)
            print(name, out[0])
    print(statistics.compiled, statistics.loaded)
"""


def test_nothing_that_is_called_goes_stale_wherever_it_is(script, tmp_path):
    from_constants = {"k_intrinsic", "k_overload", "k_jitable", "k_constant"}

    def run(constants, helpers):
        for name, text, factor in (("constants", CONSTANTS, constants), ("helpers", HELPERS, helpers)):
            path = tmp_path / f"{name}.py"
            path.write_text(textwrap.dedent(text).replace("FACTOR", f"{factor}.0"))
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "NNKIT_CACHE_DIR": str(tmp_path / "cache")}
        *lines, counts = script(USE.format(folder=str(tmp_path)), **environment).splitlines()
        values = dict(line.split() for line in lines)
        assert values == {name: f"{constants if name in from_constants else helpers}.0" for name in values}
        assert len(values) == 9
        return counts

    assert run(2, 2) == "9 0"
    assert run(3, 2) == "4 5"
    assert run(2, 3) == "5 4"
    assert run(3, 3) == "0 9"  # all of it was kept


def outside(x, factor=2.0):
    return x * factor


CONSTANT, ARRAY = 2.0, np.array([1.0, 2.0])


def uses_globals(x):
    return x * CONSTANT + ARRAY[0]


def calls_a_class(x):
    return Holder(3).scaled(x)


class Holder:
    FACTORS = (1.0, 2.0)

    def __init__(self, value):
        self.value = value

    def scaled(self, x):
        return self.value * x * self.FACTORS[0]


def test_fingerprint_sees_what_a_function_sees(monkeypatch):
    def changed(function, change):
        before = of_value(function)
        assert before == of_value(function)
        assert before.is_whole
        with pytest.MonkeyPatch.context() as patch:
            change(patch)
            after = of_value(function)
        assert not after.is_whole  # Numba may have compiled what it was
        return before.digest != after.digest

    here = sys.modules[__name__]
    assert changed(outside, lambda patch: patch.setattr(outside, "__defaults__", (3.0,)))
    assert changed(uses_globals, lambda patch: patch.setattr(here, "CONSTANT", 3.0))
    assert changed(uses_globals, lambda patch: patch.setattr(here, "ARRAY", np.array([1.5, 2.0])))
    assert changed(calls_a_class, lambda patch: patch.setattr(Holder, "FACTORS", (1.0, 3.0)))
    assert changed(calls_a_class, lambda patch: patch.setattr(Holder, "scaled", lambda self, x: x))
    assert changed(outside, lambda patch: patch.setattr(outside, "__code__", uses_globals.__code__))


def test_module_that_was_edited_since_the_start_is_not_whole(tmp_path, monkeypatch):
    """Which of both texts runs, nobody knows."""
    monkeypatch.setitem(sys.modules, "edited_for_a_test", module_of(tmp_path / "edited.py", "A = 1", "edited_for_a_test"))
    assert of_module.__wrapped__("nnkit.kernels.simd").is_whole
    assert not of_module.__wrapped__("edited_for_a_test").is_whole
    monkeypatch.setattr(fingerprint, "_STARTED", time.time() + 1.0)
    first = of_module.__wrapped__("edited_for_a_test")
    assert first.is_whole
    (tmp_path / "edited.py").write_text("A = 2")
    assert of_module.__wrapped__("edited_for_a_test") != first
    (tmp_path / "edited.py").unlink()
    assert not of_module.__wrapped__("edited_for_a_test").is_whole


class Odd:
    """Without anything to know it by."""

    __slots__ = ()


@pytest.mark.parametrize("value", [Odd(), object(), open, numba.cfunc("float64(float64)")(lambda x: x), np.array([None])])
def test_what_cannot_be_followed_is_not_whole(value):
    def uses():
        return value

    assert of_value(uses).is_whole == (value is open)


@numba.extending.intrinsic
def odd(typing, x):
    def generate(context, builder, signature, args):
        assert PLACE is not None
        return args[0]

    return x(x), generate


PLACE = object()


def uses_odd(x, out):
    out[0] = odd(x[0])


def test_kernel_that_cannot_be_followed_is_not_kept(tmp_path, monkeypatch):
    from nnkit.engine import stub

    kept = nn.engine.cache.KernelCache(tmp_path / "cache")
    monkeypatch.setattr(stub, "kernel_cache", kept)
    assert kernel_of(uses_odd).address
    assert kept.count().kernels == 0
    assert kernel_of(outside_kernel).address
    assert kept.count().kernels == 1


def outside_kernel(x, out):
    out[0] = outside(x[0])


def test_defaults_are_the_values_that_a_function_has(monkeypatch):
    assert "factor=np.float32(2.0)" in Kernel(outside_kernel, [Array.view(ARRAY)] * 2, "float32").text
    before = kernel_of(outside_kernel).text
    monkeypatch.setattr(outside, "__defaults__", (5.0,))
    assert before != kernel_of(outside_kernel).text


def test_closure_variable_that_changes_makes_another_kernel():
    factor = 2.0

    def scaled(x, out):
        out[0] = factor * x[0]

    made = kernel_of(scaled)
    assert "2.0" in made.text and made.is_current
    factor = 3.0
    assert not made.is_current


def test_function_that_a_notebook_reloads_in_place_makes_another_kernel(tmp_path, monkeypatch):
    """IPython's autoreload puts the new code into the old function."""
    text = "def helper(x):\n    return x * FACTOR\ndef f(x, out):\n    out[0] = helper(x[0])\n"
    old, new = (module_of(tmp_path / f"version{n}.py", text.replace("FACTOR", f"{n}.0")) for n in (2, 3))
    before = kernel(old.f, OPERANDS, "float64")
    assert "2.0" in before.text
    assert kernel(old.f, OPERANDS, "float64") is before
    old.helper.__code__ = new.helper.__code__
    after = kernel(old.f, OPERANDS, "float64")
    assert after is not before
    assert "3.0" in after.text
    old.f.__defaults__ = (1,)
    assert kernel(old.f, OPERANDS, "float64") is not after


def test_module_in_an_archive(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        archive.writestr("zipped_for_a_test.py", "import math\ndef f(x, out):\n    out[0] = math.exp(x[0])\n")
    monkeypatch.syspath_prepend(str(tmp_path / "parts.zip"))
    module = importlib.import_module("zipped_for_a_test")
    assert definition(module.f).name == "f"
    assert of_module.__wrapped__("zipped_for_a_test").is_whole


def test_decorator_that_wraps_a_kernel_is_an_error():
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    with pytest.raises(nn.KernelError, match=r"names its arguments, got one of \(\*args, \*\*kwargs\); leave away"):
        _ = kernel_of(decorate(outside_kernel)).text


def test_only_what_has_another_form_in_compiled_code_is_overloaded():
    @numba.extending.register_jitable
    def jitable(x):
        return x

    def function(x):
        return x

    assert not is_overloaded(jitable)
    assert not is_overloaded(function)
    numba.extending.overload(function)(lambda x: lambda x: x)
    assert is_overloaded(function)
    assert is_overloaded(numba.carray)


@pytest.mark.parametrize(
    ("option", "value", "counts"),
    [
        ("OPT", 0, True), ("LOOP_VECTORIZE", 0, True), ("SLP_VECTORIZE", 1, True), ("ENABLE_AVX", 0, True),
        ("CPU_NAME", "another", True), ("CPU_FEATURES", "+new", True), ("BOUNDSCHECK", 1, True), ("DEBUGINFO_DEFAULT", 1, True),
        ("LLVM_REFPRUNE_PASS", 0, True), ("FULL_TRACEBACKS", 1, False), ("CACHE_DIR", "x", False), ("DUMP_IR", 1, False),
        ("NUMBA_NUM_THREADS", 99, False), ("CUDA_LOG_SIZE", 9, False),
    ],
)  # fmt: skip
def test_options_that_shape_code_are_in_a_kernels_name(monkeypatch, option, value, counts):
    before, name = jit.settings(), kernel_of(outside_kernel)._name
    monkeypatch.setattr(config, option, value)
    assert (jit.settings() != before) == counts
    assert (kernel_of(outside_kernel)._name != name) == counts


def test_options_of_the_environment_are_in_a_kernels_name(script, tmp_path):
    text = """
        import numpy as np, nnkit as nn
        from nnkit.engine.stub import statistics
        print(nn.Sequential(["tanh"]).build((2,)).predict(np.zeros((4, 2)))[0, 0])
        print(statistics.compiled > 0)
    """
    kept = {"NNKIT_CACHE_DIR": str(tmp_path / "cache")}
    options = {"NUMBA_LOOP_VECTORIZE": "0"}
    outputs = [script(text, **given, **kept).split() for given in ({}, options, {}, options)]
    assert outputs == [["0.0", "True"], ["0.0", "True"], ["0.0", "False"], ["0.0", "False"]]


def test_kernels_are_compiled_where_numba_is_switched_off(script, tmp_path):
    """NUMBA_DISABLE_JIT is for the user's functions."""
    text = """
        import numba, numpy as np, nnkit as nn
        @numba.njit
        def helper(x):
            return x + 1.0
        class Plus(nn.Layer):
            def build(self, in_shape):
                return in_shape
            @staticmethod
            def forward(x, out):
                out[:] = helper(x)
            @staticmethod
            def backward(grad_out, grad_x):
                grad_x[:] = grad_out
        model = nn.Sequential([nn.Linear(3), Plus(), nn.Linear(1)])
        model.fit(np.ones((40, 2)), np.ones((40, 1)), epochs=2, random_state=0)
        print(type(helper).__name__, numba.config.DISABLE_JIT)
    """
    assert script(text, NUMBA_DISABLE_JIT="1", NNKIT_CACHE_DIR=str(tmp_path / "cache")) == "function 1\n"


def test_tracebacks_and_profilers_see_the_stub(monkeypatch):
    made = kernel_of(outside_kernel)
    monkeypatch.setattr(made, "_load", lambda: None)
    assert made.address
    assert "def k_outside_kernel_" in "".join(linecache.getlines(f"<nnkit {made._name}>"))

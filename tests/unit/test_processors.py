"""Code for other processors than this one: Numba is told which, and everything that depends on it follows."""

import platform

import pytest

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the names are those of x86-64")

CODE = """
    import re
    import numpy as np, nnkit as nn
    from nnkit.engine.operands import Array
    from nnkit.engine.stub import _provide, kernel
    from nnkit.kernels import simd
    from nnkit.kernels.lanes import load, store

    def scaled(x, out):
        for i in range(x.shape[0]):
            out[i] = 2.0 * x[i]

    def in_lanes(x, out):
        store(load(x) * 2.0, out)

    numbers = [Array.view(np.zeros(16, np.float32)), Array.view(np.zeros(16, np.float32))]
    tiles = [_provide("nnkit.kernels.simd", f"{name}_apart32") for name in ("multiply", "contract", "correlate")]
    for made in (*tiles, kernel(scaled, numbers, "float32"), kernel(in_lanes, numbers, "float32")):
        assembly = made._compiled(made._name)._result.library.get_asm_str()
        fused = "fma" if re.search("v?fn?m(add|sub)", assembly) else ""
        print(made.function.__name__, *sorted(set(re.findall("%([xyz]mm)", assembly))), fused)
    print("lines", simd.LINES, simd.MULTIPLIED)
"""
# What code for them may use: registers, fused products and sums; cache lines that the registers hold.
PROCESSORS = {
    ("nehalem", ""): ({"xmm"}, 4), ("nehalem", "+avx"): ({"xmm", "ymm"}, 8), ("haswell", ""): ({"xmm", "ymm", "fma"}, 8),
    ("skylake-avx512", ""): ({"xmm", "ymm", "zmm", "fma"}, 32),
}  # fmt: skip


@pytest.mark.parametrize(("name", "features"), PROCESSORS)
def test_code_is_for_the_processor_that_numba_is_told(name, features, script, tmp_path):
    """It is not run: this machine need not have what it uses."""
    output = script(CODE, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features, NNKIT_CACHE_DIR=str(tmp_path / "cache"))
    allowed, lines = PROCESSORS[name, features]
    *used, last = output.splitlines()
    assert len(used) == 5
    for line in used:
        kernel, *found = line.split()
        assert set(found) <= allowed, kernel
        assert "xmm" in found or "ymm" in found or "zmm" in found
    assert {word for line in used for word in line.split()[1:]} >= allowed - {"xmm"}
    assert last.startswith(f"lines {lines} ")


def test_kernels_of_another_processor_are_not_loaded(script, tmp_path):
    text = """
        import numpy as np, nnkit as nn
        from nnkit.engine.stub import statistics
        print(nn.Sequential(["tanh"]).build((2,)).predict(np.zeros((4, 2)))[0, 0])
        print(statistics.compiled, statistics.loaded)
    """
    kept = {"NNKIT_CACHE_DIR": str(tmp_path / "cache")}
    told = [("nehalem", ""), ("generic", ""), ("nehalem", "-sse4.2"), ("nehalem", "")]
    outputs = [script(text, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features, **kept).split() for name, features in told]
    assert [int(loaded) > 0 for *_, loaded in outputs] == [False, False, False, True]
    assert [int(compiled) > 0 for _, compiled, _ in outputs] == [True, True, True, False]
    assert len([*(tmp_path / "cache").iterdir()]) == sum(int(compiled) for _, compiled, _ in outputs)

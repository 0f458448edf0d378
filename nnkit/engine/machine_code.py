"""What the compiler has made of a kernel, read from its intermediate code."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MachineCode"]

_VECTOR = re.compile(r"= (?:fadd|fmul|fsub|fdiv|fneg|fcmp|select|load|tail call|call)\b.*?<(\d+) x (?:float|double)>")
_LIBRARY = re.compile(  # functions that LLVM leaves to the C library, also where it writes them for many numbers
    r"call [^@\n]*@(?:llvm\.)?(a?sinh?|a?cosh?|a?tanh?|atan2|exp2?|expm1|log2?|log10|log1p|pow|erfc?|lgamma|fmod)"
    r"f?(?:\.v?\d*f(?:32|64))?\("
)
_ALLOCATION = re.compile(r"@NRT_(Allocate|MemInfo_alloc)\w*")
_CONVERSION = re.compile(r"\b(fpext|fptrunc)\b")  # not sitofp: Numba compares the sizes of arrays as doubles
_BLAS = "numba_xxge"  # prefix of Numba's names for matrix products
_TILES = re.compile(r"@nnkit_\w+_apart\w+")  # see `nnkit.kernels.simd`


@dataclass(frozen=True)
class MachineCode:
    """How a kernel computes.

    Attributes
    ----------
    lanes : how many numbers its widest instructions work on at once; 1 where no loop is vectorised
    blas : whether it calls a matrix product of BLAS
    tiles : whether it calls nnkit's products in tiles, which are compiled apart
    library : functions of the C library that it calls number by number
    allocates : whether it asks for memory
    widens : whether it goes between float32 and float64
    """

    lanes: int
    blas: bool
    tiles: bool
    library: tuple[str, ...]
    allocates: bool
    widens: bool

    @classmethod
    def of(cls, code: str) -> MachineCode:
        """Read LLVM's code."""
        widths = [int(width) for width in _VECTOR.findall(code)]
        return cls(
            lanes=max(widths, default=1),
            blas=_BLAS in code,
            tiles=_TILES.search(code) is not None,
            library=tuple(sorted(set(_LIBRARY.findall(code)))),
            allocates=_ALLOCATION.search(code) is not None,
            widens=_CONVERSION.search(code) is not None,
        )

    def __str__(self) -> str:
        words = ["matrix product by BLAS"] * self.blas + ["products in tiles"] * self.tiles
        words.append(f"loops vectorised, {self.lanes} numbers at once" if self.lanes >= 4 else "no vectorised loop")
        return ", ".join([*words, *(f"{name} number by number" for name in self.library)])

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
_MATRIX_PRODUCT = "numba_xxge"  # prefix of Numba's names for BLAS


@dataclass(frozen=True)
class MachineCode:
    """How a kernel computes.

    Attributes
    ----------
    lanes : how many numbers its widest instructions work on at once; 1 where no loop is vectorised
    matrix_product : whether it calls BLAS
    library : functions of the C library that it calls number by number
    allocates : whether it asks for memory
    widens : whether it goes between float32 and float64
    """

    lanes: int
    matrix_product: bool
    library: tuple[str, ...]
    allocates: bool
    widens: bool

    @classmethod
    def of(cls, code: str) -> MachineCode:
        """Read LLVM's code."""
        widths = [int(width) for width in _VECTOR.findall(code)]
        return cls(
            lanes=max(widths, default=1),
            matrix_product=_MATRIX_PRODUCT in code,
            library=tuple(sorted(set(_LIBRARY.findall(code)))),
            allocates=_ALLOCATION.search(code) is not None,
            widens=_CONVERSION.search(code) is not None,
        )

    def __str__(self) -> str:
        words = ["matrix product"] if self.matrix_product else []
        words.append(f"loops vectorised, {self.lanes} numbers at once" if self.lanes >= 4 else "no vectorised loop")
        return ", ".join([*words, *(f"{name} number by number" for name in self.library)])

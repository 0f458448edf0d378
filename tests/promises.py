"""Which examples and checks the tests of contracts take: all, or what another processor can make a difference to."""

import os

from nnkit.testing.checks import checks_of, uncompiled_checks_of

__all__ = ["checks", "examples"]

# `make test-processors` compiles all anew for each processor: there parts are checked as they are compiled, on two examples.
COMPILED_ALONE = "NUMBA_CPU_NAME" in os.environ


def examples(parts):
    """Of each part."""
    return [example for part in parts for example in part.examples()[: 2 if COMPILED_ALONE else None]]


def checks(kind):
    """Of a kind of parts."""
    plain = uncompiled_checks_of(kind) if COMPILED_ALONE else ()
    return [check for check in checks_of(kind) if check not in plain]

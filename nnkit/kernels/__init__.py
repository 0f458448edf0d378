"""Arithmetic that kernels are made of. Plain Python here; the engine compiles it, one dtype at a time."""

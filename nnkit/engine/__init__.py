"""Runs tables of kernels; knows kernels and memory, not layers."""

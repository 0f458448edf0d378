"""Side-by-side measurements of nnkit and its peers: ``python -m benchmarks``."""

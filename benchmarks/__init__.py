"""Side-by-side measurements of nnkit and its peers: ``python -m benchmarks`` in a checkout, ``nnkit bench`` anywhere.

A wheel has this folder as ``nnkit.benchmarks``: modules import each other relatively.
"""

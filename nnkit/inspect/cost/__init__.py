"""What the net costs.

In numbers and memory (summary, diagram), and in time: kernel by kernel (timing measures, profile tells), beside the best that
this machine can do.
"""

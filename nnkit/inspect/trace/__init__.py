"""How the net computes, and how its derivatives come about.

A batch runs through a copy of it, forward and backward, and every number on the way is kept: to be written out as the chain
rule, drawn, and compared with finite differences.
"""

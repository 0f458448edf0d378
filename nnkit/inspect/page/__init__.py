"""The page on which a net computes its backpropagation: one file of HTML with everything in it.

What it computes with are the parts' own functions, translated to JavaScript; what cannot be translated is shown with the
numbers of the trace.
"""

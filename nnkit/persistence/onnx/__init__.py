"""Models in ONNX's form: the graph, how it is written and how it is read; `nnkit.onnx` is the door to it.

Each part's class says how it is written (``Layer.onnx``) and from which operators it is read (``Layer.from_onnx``).
"""

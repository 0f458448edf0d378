"""Models in ONNX's form: the graph, how it is written and how it is read; `nnkit.onnx` is the door to it.

Each part's class says how it is written (``Layer.onnx``) and from which operators it is read (``Layer.from_onnx``); what it
gets for that is declared in `nnkit.core.exchange`.

Writing: layers write nodes into a ``graph``; ``writing`` makes a file of them. Estimators of tables write a file themselves:
inputs, what tables do with columns, a net, outputs. Reading: ``parsing`` makes nodes of a file, with ``tensors``, ``nodes`` and
``folding``; the ``reader`` looks for layers from one ``cursor`` to the next, where the nodes of a ``region`` are held against a
``pattern``; ``reading`` makes a net of them.
"""

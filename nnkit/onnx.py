"""Models in ONNX's form: ``nnkit.onnx.export(model, path)`` and ``nnkit.onnx.load(path)``."""

from nnkit.persistence.onnx import export as export
from nnkit.persistence.onnx import load as load

__all__ = ["export", "load"]

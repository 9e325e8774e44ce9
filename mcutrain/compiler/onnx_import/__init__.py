"""ONNX to our graph: one module per operator family, registered by :mod:`.context`."""

from mcutrain.compiler.onnx_import import elementwise, linear, naming, normalization, reader, shapes, spatial
from mcutrain.compiler.onnx_import.context import Importer, supported_operators

__all__ = [
    "Importer",
    "elementwise",
    "linear",
    "naming",
    "normalization",
    "reader",
    "shapes",
    "spatial",
    "supported_operators",
]

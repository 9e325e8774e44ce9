"""The arithmetic contract in NumPy: what every backend reproduces bit for bit."""

from mcutrain.numerics.dot import dot, dot_nt, dot_tn
from mcutrain.numerics.rounding import activate, add_squares, canonical, narrow, widen

__all__ = ["activate", "add_squares", "canonical", "dot", "dot_nt", "dot_tn", "narrow", "widen"]

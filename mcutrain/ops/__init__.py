"""Operators: importing this package registers all of them."""

from mcutrain.ops import dense
from mcutrain.ops.base import GradientBuilder, KernelCall, Op, Pointer, op_for, operator_names, register

__all__ = ["GradientBuilder", "KernelCall", "Op", "Pointer", "op_for", "operator_names", "register"]

"""Operators: importing this package imports its modules, which register theirs."""

from importlib import import_module
from pkgutil import iter_modules

from mcutrain.ops.base import GradientBuilder, KernelCall, Op, Pointer, op_for, operator_names, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["GradientBuilder", "KernelCall", "Op", "Pointer", "op_for", "operator_names", "register"]

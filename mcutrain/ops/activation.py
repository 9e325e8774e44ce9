"""Activations and their gradients: in FP32, one rounding to the element type.

NaN passes through every activation, and its gradient passes where the result
is NaN, so that an overflow is still seen when the gradients are checked.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from mcutrain.errors import UnsupportedError
from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import activate, narrow, widen
from mcutrain.numerics import math as f32
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointers,
    present,
    register,
    required,
)

#: MCT_RELU … in kernels/mct.h and kernels/activation.h
CODES = {"relu": 1, "clip": 2, "leaky_relu": 3, "sigmoid": 4, "tanh": 5, "negate": 6}

_ZERO, _ONE = np.float32(0), np.float32(1)


def bounds(node: Node) -> tuple[float, float, float]:
    """``lo`` and ``hi`` (infinite where absent) and ``alpha`` of an activation, as FP32 values."""
    lo = node.attrs.get("lo")
    hi = node.attrs.get("hi")
    return (
        float(np.float32(-math.inf if lo is None else lo)),
        float(np.float32(math.inf if hi is None else hi)),
        float(np.float32(node.attrs.get("alpha", 0.0))),
    )


class _Activation(Op):
    """y[...] T = f(x[...] T)."""

    kind: ClassVar[str]

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        expect(x.dtype != "i32", node, "the operand is of integers")
        return [(x.shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        lo, hi, alpha = bounds(node)
        with np.errstate(all="ignore"):
            if self.kind == "leaky_relu":
                y = np.where(x < _ZERO, np.float32(alpha) * x, x)
            elif self.kind == "sigmoid":
                y = f32.sigmoid(x)
            elif self.kind == "tanh":
                y = f32.tanh(x)
            elif self.kind == "negate":
                y = -x
            else:
                y = activate(x, self.kind, lo, hi)
        return [narrow(y, NUMPY_DTYPES[outputs[0].dtype])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        dy = dys[0]
        assert dy is not None
        if not g.needs(node.inputs[0]):
            return
        attrs = {**node.attrs, "activation": self.kind}
        if self.kind == "negate":
            dx = g.emit("Negate", [dy], node=node)
        else:
            dx = g.emit("ActivationGradient", [dy, node.outputs[0]], attrs, node=node)
        g.accumulate(node.inputs[0], dx)

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        y = outputs[0]
        lo, hi, alpha = bounds(node)
        fields: dict[str, FieldValue] = {
            **pointers(x=inputs[0], y=y),
            "count": y.size,
            "activation": CODES[self.kind],
            "lo": lo,
            "hi": hi,
            "alpha": alpha,
        }
        return KernelCall("activation", y.dtype, fields)


@register
class Relu(_Activation):
    """y = x < 0 ? 0 : x."""

    kind = "relu"


@register
class Clip(_Activation):
    """y = x limited to [lo, hi]; an absent attribute is no limit."""

    kind = "clip"


@register
class LeakyRelu(_Activation):
    """y = x < 0 ? alpha x : x."""

    kind = "leaky_relu"


@register
class Sigmoid(_Activation):
    """y = 1 / (1 + e^-x), by :func:`mcutrain.numerics.math.sigmoid`."""

    kind = "sigmoid"


@register
class Tanh(_Activation):
    """y = tanh x, by :func:`mcutrain.numerics.math.tanh`."""

    kind = "tanh"


@register
class Negate(_Activation):
    """y = -x."""

    kind = "negate"


@register
class ActivationGradient(Op):
    """dx[...] T from dy T and the activation's result y T; attrs ``activation``, ``lo``, ``hi``, ``alpha``.

    relu        y <= 0 ? 0 : dy
    clip        y <= lo or y >= hi ? 0 : dy, with lo and hi rounded to T as y is
    leaky_relu  y <= 0 ? alpha dy : dy
    sigmoid     dy (y (1 - y))
    tanh        dy (1 - y²)
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dy, y = required(node, inputs, 0), required(node, inputs, 1)
        kind = node.attrs.get("activation")
        expect(kind in CODES and kind != "negate", node, f"no activation '{kind}'", "report this as a bug")
        expect(
            (dy.shape, dy.dtype) == (y.shape, y.dtype),
            node,
            "operands differ in type",
            "report this as a bug",
        )
        if kind == "leaky_relu" and node.attrs.get("alpha", 0.0) < 0:
            raise UnsupportedError(
                f"node '{node.name}': no gradient of LeakyRelu with the negative slope {node.attrs['alpha']}",
                "use a slope of zero or more, or freeze the layers before it with --train",
            )
        return [(y.shape, y.dtype)]

    def _bounds(self, node: Node, dtype: str) -> tuple[float, float, float]:
        lo, hi, alpha = bounds(node)
        with np.errstate(over="ignore"):
            return float(NUMPY_DTYPES[dtype](lo)), float(NUMPY_DTYPES[dtype](hi)), alpha

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        dy, y = widen(present(inputs, 0)), widen(present(inputs, 1))
        lo, hi, alpha = (np.float32(v) for v in self._bounds(node, outputs[0].dtype))
        kind = node.attrs["activation"]
        with np.errstate(all="ignore"):
            if kind == "relu":
                dx = np.where(y <= _ZERO, _ZERO, dy)
            elif kind == "clip":
                dx = np.where((y <= lo) | (y >= hi), _ZERO, dy)
            elif kind == "leaky_relu":
                dx = np.where(y <= _ZERO, alpha * dy, dy)
            elif kind == "sigmoid":
                dx = dy * (y * (_ONE - y))
            else:
                dx = dy * (_ONE - y * y)
        return [narrow(dx, NUMPY_DTYPES[outputs[0].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dx = outputs[0]
        lo, hi, alpha = self._bounds(node, dx.dtype)
        fields: dict[str, FieldValue] = {
            **pointers(dy=inputs[0], y=inputs[1], dx=dx),
            "count": dx.size,
            "activation": CODES[node.attrs["activation"]],
            "lo": lo,
            "hi": hi,
            "alpha": alpha,
        }
        return KernelCall("activation_gradient", dx.dtype, fields)

"""Attention maps: where a layer's activations are strong, compared between two networks.

A map is the sum of squares over channels at each position of x, [N, H, W, C] or [N, D] (then each unit is a
position), divided by its Euclidean norm.  FP32 inside, every operation rounds once, sums in index order.

Source: Zagoruyko and Komodakis, *Paying More Attention to Attention*, 2017.
"""

from __future__ import annotations

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import canonical, narrow, widen
from mcutrain.numerics.rounding import Float32
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointer,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.softmax import sum_in_order
from mcutrain.ops.state import expect_type


def positions(shape: tuple[int, ...]) -> tuple[int, int]:
    """Positions of a sample, and channels of each."""
    return (int(np.prod(shape[1:-1])), shape[-1]) if len(shape) > 2 else (shape[-1], 1)


@register
class AttentionEnergy(Op):
    """energy f32[N, P] = the sum over channels of x²; x T[N, …]."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        expect(len(x.shape) > 1, node, f"activations of shape {list(x.shape)}", "report this as a bug")
        return [((x.shape[0], positions(x.shape)[0]), "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        x = x.reshape(*outputs[0].shape, positions(x.shape)[1])
        with np.errstate(all="ignore"):
            return [canonical(sum_in_order(x * x, 2)[..., 0])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {
            **pointers(x=x, energy=outputs[0]),
            "count": outputs[0].size,
            "channels": positions(x.shape)[1],
        }
        return KernelCall("attention_energy", x.dtype, fields)


def _norm(energy: Float32) -> Float32:
    return np.asarray(np.sqrt(sum_in_order(energy * energy, 1)))


def _map(energy: Float32, norm: Float32) -> Float32:
    return np.where(norm > 0, energy / norm, np.float32(0))


@register
class AttentionError(Op):
    """loss f32[1] = mean of (map - map of reference)², and its gradient by energy, f32[N, P].

    inputs: energy f32[N, P], reference (energies of the other network) f32[N, P], switch f32[8] whose
    element 5 is the weight, scale f32[1] (loss scale).  Weight and scale multiply the gradient alone.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        energy = required(node, inputs, 0)
        for index, shape in enumerate((energy.shape, energy.shape, (8,), (1,))):
            expect_type(node, inputs, index, shape, "f32")
        return [((1,), "f32"), (energy.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        energy, reference, switch, scale = (present(inputs, i) for i in range(4))
        rows, count = energy.shape
        with np.errstate(all="ignore"):
            norm = _norm(energy)
            mine = _map(energy, norm)
            apart = mine - _map(reference, _norm(reference))
            losses = sum_in_order(apart * apart, 1)[:, 0] / np.float32(count)
            loss = canonical(sum_in_order(losses, 0) / np.float32(rows))
            factor = ((scale[0] / np.float32(rows)) * switch[5]) * (np.float32(2) / np.float32(count))
            error = factor * apart
            along = sum_in_order(error * mine, 1)
            gradient = np.where(norm > 0, (error - mine * along) / norm, np.float32(0))
        return [loss, canonical(gradient)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        rows, count = outputs[1].shape
        names = ("energy", "reference", "choice", "scale")
        fields: dict[str, FieldValue] = {
            **{name: pointer(tensor) for name, tensor in zip(names, inputs, strict=True)},
            **pointers(loss=outputs[0], gradient=outputs[1]),
            "rows": rows,
            "count": count,
        }
        return KernelCall("attention_error", "f32", fields)


@register
class AttentionGradient(Op):
    """dx T[N, …] = 2 x denergy, from x T[N, …] and denergy f32[N, P]."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        expect_type(node, inputs, 1, (x.shape[0], positions(x.shape)[0]), "f32")
        return [(x.shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, gradient = widen(present(inputs, 0)), present(inputs, 1)
        with np.errstate(all="ignore"):
            spread = (np.float32(2) * x).reshape(*gradient.shape, -1) * gradient[..., None]
        return [narrow(spread.reshape(x.shape), NUMPY_DTYPES[outputs[0].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, gradient = required(node, inputs, 0), required(node, inputs, 1)
        fields: dict[str, FieldValue] = {
            **pointers(x=x, gradient=gradient, dx=outputs[0]),
            "count": gradient.size,
            "channels": positions(x.shape)[1],
        }
        return KernelCall("attention_gradient", x.dtype, fields)

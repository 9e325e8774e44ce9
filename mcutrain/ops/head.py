"""The head of a network as ridge regression on counts that can be undone.

Features f of a frozen network become integers φ = round(s f) in ±127, and the constant 127 with
them.  Every learned sample adds φ φᵀ to the Gram matrix G and y φ to K; forgetting it subtracts
the same integers, so that the counts are those of never having seen it.  (G + γ I) W = K is
solved in FP32 by Cholesky's method, every operation in a stated order, so that equal counts give
equal weights.

y is +1 for the sample's class and -1 for every other; in regression it is the target in Q15,
round(2^15 t s_t) in ±32767.  G holds its upper triangle by rows: (0, 0), (0, 1) …, (1, 1) ….

Source of the method: Zhuang et al., *ACIL: Analytic Class-Incremental Learning*, 2022, and Liu et
al., *Analytic Continual Unlearning*, 2025, whose recursion in floating point this replaces by sums.
"""

from __future__ import annotations

import math

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import narrow, widen
from mcutrain.numerics.dot import fused_multiply_add
from mcutrain.numerics.rounding import Float32
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    Pointer,
    TensorType,
    align,
    expect,
    pointer,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.state import expect_type

#: The integer of full scale, which also stands for the constant 1.
FULL = 127
#: Most samples: 127² of each is in G, and 133 144 of them in an int32.
MOST_SAMPLES = 133_000
_Q15 = 32767


def _quantised(x: Float32, most: int) -> Array:
    """round(x) to the nearest even within ±most, NaN as 0: int64."""
    with np.errstate(all="ignore"):
        bounded = np.where(x > most, np.float32(most), np.where(x < -most, np.float32(-most), x))
        return np.rint(np.where(np.isnan(bounded), np.float32(0), bounded)).astype(np.int64)


def triangle(size: int) -> int:
    """Elements of the upper triangle of a matrix with ``size`` rows."""
    return size * (size + 1) // 2


@register
class HeadFeatures(Op):
    """phi i8[N, M] = round(x scale) of x T[N, D]; M = D, or with attribute ``constant`` D + 1 and 127 last.

    inputs: x, scale f32[2], of which the first counts.  To the nearest even, within ±127; NaN becomes 0.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        expect(len(x.shape) == 2, node, f"features of shape {list(x.shape)}", "report this as a bug")
        expect_type(node, inputs, 1, (2,), "f32")
        return [((x.shape[0], x.shape[1] + bool(node.attrs["constant"])), "i8")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        with np.errstate(all="ignore"):
            phi = _quantised(x * present(inputs, 1)[0], FULL)
        result = np.full(outputs[0].shape, FULL, np.int8)
        result[:, : x.shape[1]] = phi
        return [result]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {
            **pointers(x=x, scale=inputs[1], phi=outputs[0]),
            "rows": x.shape[0],
            "depth": x.shape[1],
            "size": outputs[0].shape[1],
        }
        return KernelCall("head_features", x.dtype, fields)


@register
class HeadAdmit(Op):
    """sign i32[N] of each row that counts, 0 for the others, and count i32[1] with them, in place.

    inputs: label i32[N], or target f32[N, C] (attribute ``regression``); count.  Attribute ``sign``
    is 1 to learn, -1 to forget.  A row does not count when its label is not in [0, ``classes``) or
    its target not finite, nor when count is full (133 000) to learn or empty to forget.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        target = required(node, inputs, 0)
        rows, classes = target.shape[0], node.attrs["classes"]
        wanted = ((rows, classes), "f32") if node.attrs["regression"] else ((rows,), "i32")
        expect_type(node, inputs, 0, *wanted)
        expect_type(node, inputs, 1, (1,), "i32")
        return [((rows,), "i32"), ((1,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        target, count = present(inputs, 0), int(present(inputs, 1)[0])
        sign = int(node.attrs["sign"])
        if node.attrs["regression"]:
            valid = np.isfinite(target).all(axis=1)
        else:
            valid = (target >= 0) & (target < node.attrs["classes"])
        signs = np.zeros(len(target), np.int32)
        for row in np.flatnonzero(valid):
            if (count < MOST_SAMPLES) if sign > 0 else (count > 0):
                signs[row] = sign
                count += sign
        return [signs, np.array([count], np.int32)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        target = required(node, inputs, 0)
        regression = bool(node.attrs["regression"])
        fields: dict[str, FieldValue] = {
            "label": Pointer("") if regression else pointer(target),
            "target": pointer(target) if regression else Pointer(""),
            **pointers(signs=outputs[0], count=outputs[1]),
            "sign": int(node.attrs["sign"]),
            "rows": target.shape[0],
            "classes": int(node.attrs["classes"]),
            "most": MOST_SAMPLES,
        }
        return KernelCall("head_admit", "f32", fields)


@register
class GramUpdate(Op):
    """G += sign φ φᵀ, K += sign y φ over the rows, in place.

    inputs: phi i8[N, M], sign i32[N], label i32[N] or target f32[N, C], scale f32[2], gram
    i32[M(M+1)/2], targets i32[C, M], or of a regression i32[2, C, M]: the high words of 64-bit
    integers, then the low ones.  outputs: gram, targets.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        phi, target, k = (required(node, inputs, i) for i in (0, 2, 5))
        rows, size = phi.shape
        classes = k.shape[-2]
        expect_type(node, inputs, 0, (rows, size), "i8")
        expect_type(node, inputs, 1, (rows,), "i32")
        regression = target.dtype == "f32"
        expect_type(node, inputs, 2, (rows, classes) if regression else (rows,), target.dtype)
        expect_type(node, inputs, 3, (2,), "f32")
        expect_type(node, inputs, 4, (triangle(size),), "i32")
        expect_type(node, inputs, 5, (2, classes, size) if regression else (classes, size), "i32")
        return [((triangle(size),), "i32"), (k.shape, "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        phi, sign = present(inputs, 0).astype(np.int64), present(inputs, 1).astype(np.int64)
        target, gram, k = present(inputs, 2), present(inputs, 4), present(inputs, 5)
        upper = np.triu_indices(phi.shape[1])
        signed = phi * sign[:, None]
        gram = (gram + (signed.T @ phi)[upper]).astype(np.int32)
        if target.dtype == np.int32:
            y = np.where(target[:, None] == np.arange(len(k)), 1, -1)
            return [gram, (k + y.T @ signed).astype(np.int32)]
        with np.errstate(all="ignore"):
            y = _quantised(target * present(inputs, 3)[1] * np.float32(32768), _Q15)
        return [gram, _words(_wide(k) + y.T @ signed)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        phi, sign, target, scale, gram, k = (required(node, inputs, i) for i in range(6))
        regression = target.dtype == "f32"
        fields: dict[str, FieldValue] = {
            **pointers(phi=phi, signs=sign),
            "label": Pointer("") if regression else pointer(target),
            "target": pointer(target) if regression else Pointer(""),
            **pointers(scale=scale, gram=gram, targets=k),
            "rows": phi.shape[0],
            "size": phi.shape[1],
            "classes": k.shape[-2],
        }
        return KernelCall("gram_update", "f32", fields)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        rows, size = required(node, inputs, 0).shape
        return rows * (triangle(size) + outputs[1].shape[-2] * size)


def _wide(words: Array) -> Array:
    """High and low words i32[2, …] as int64."""
    return np.asarray((words[0].astype(np.int64) << 32) | (words[1].astype(np.int64) & 0xFFFFFFFF))


def _words(wide: Array) -> Array:
    return np.stack([wide >> 32, wide & 0xFFFFFFFF]).astype(np.uint32).view(np.int32)


@register
class GramFactor(Op):
    """Cholesky's U, f32[M(M+1)/2], with UᵀU = G + γ I; solved i32[1] = 1, or 0 and U = 0.

    inputs: gram i32[M(M+1)/2], ridge f32[1] = γ.  Row by row: U[k, k] = sqrt(A[k, k]), U[k, j] = A[k, j] /
    U[k, k], then A[i, j] = fma(-U[k, i], U[k, j], A[i, j]).  Not solved when a pivot is not above zero.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        gram = required(node, inputs, 0)
        expect_type(node, inputs, 0, (triangle(_size(gram.size)),), "i32")
        expect_type(node, inputs, 1, (1,), "f32")
        return [(gram.shape, "f32"), ((1,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        gram, ridge = present(inputs, 0), present(inputs, 1)[0]
        size = _size(gram.size)
        upper = np.triu_indices(size)
        a = np.zeros((size, size), np.float32)
        a[upper] = gram.astype(np.float32)
        with np.errstate(all="ignore"):
            a[np.arange(size), np.arange(size)] += ridge
            for k in range(size):
                if not a[k, k] > 0:
                    return [np.zeros(gram.shape, np.float32), np.zeros(1, np.int32)]
                a[k, k] = np.sqrt(a[k, k])
                a[k, k + 1 :] = a[k, k + 1 :] / a[k, k]
                row = a[k, k + 1 :]
                a[k + 1 :, k + 1 :] = fused_multiply_add(-row[:, None], row[None, :], a[k + 1 :, k + 1 :])
        return [a[upper], np.ones(1, np.int32)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        fields: dict[str, FieldValue] = {
            **pointers(gram=inputs[0], ridge=inputs[1], factor=outputs[0], solved=outputs[1]),
            "size": _size(outputs[0].size),
        }
        return KernelCall("gram_factor", "f32", fields)

    def accumulation(self, node: Node, dtype: str) -> str:
        return "seq-f32"

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return sum(triangle(k) for k in range(_size(outputs[0].size)))


def _size(elements: int) -> int:
    """Rows of the matrix whose upper triangle has so many elements."""
    return (math.isqrt(8 * elements + 1) - 1) // 2


@register
class HeadWeights(Op):
    """w T[C, D] and bias f32[C] of the head from U and K, in place; nothing changes unless solved.

    inputs: factor f32[M(M+1)/2], solved i32[1], targets i32[C, M] or i32[2, C, M], scale f32[2], w, bias
    f32[C] or ''.  outputs: w, and bias when given.  K becomes FP32 (a 64-bit one as high · 2^32 + low),
    then per class z[k] = z[k] / U[k, k], z[i] = fma(-U[k, i], z[k], z[i]) for i > k, k going up; then
    x[k] = z[k] / U[k, k], z[i] = fma(-U[i, k], x[k], z[i]) for i < k, k going down.  w = x scale[0], bias
    = 127 x[D]; of a regression both by 1 / (32768 scale[1]).
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        factor, k, w = (required(node, inputs, i) for i in (0, 2, 4))
        classes, depth = w.shape
        size = depth + (inputs[5] is not None)
        expect_type(node, inputs, 0, (triangle(size),), "f32")
        expect_type(node, inputs, 1, (1,), "i32")
        expect_type(node, inputs, 2, (2, classes, size) if len(k.shape) == 3 else (classes, size), "i32")
        expect_type(node, inputs, 3, (2,), "f32")
        expect(_size(factor.size) == size, node, f"{factor.size} elements", "report this as a bug")
        if inputs[5] is None:
            return [(w.shape, w.dtype)]
        expect_type(node, inputs, 5, (classes,), "f32")
        return [(w.shape, w.dtype), ((classes,), "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        factor, k, scale, w, bias = (*(present(inputs, i) for i in (0, 2, 3, 4)), inputs[5])
        if present(inputs, 1)[0] == 0:
            return [w.copy()] if bias is None else [w.copy(), bias.copy()]
        size, depth = k.shape[-1], w.shape[1]
        u = np.zeros((size, size), np.float32)
        u[np.triu_indices(size)] = factor
        with np.errstate(all="ignore"):
            z = _as_f32(k).T.copy()
            for i in range(size):
                z[i] = z[i] / u[i, i]
                z[i + 1 :] = fused_multiply_add(-u[i, i + 1 :, None], z[i], z[i + 1 :])
            for i in range(size - 1, -1, -1):
                z[i] = z[i] / u[i, i]
                z[:i] = fused_multiply_add(-u[:i, i, None], z[i], z[:i])
            unit = np.float32(1)
            if k.ndim == 3:
                unit = np.float32(1) / (np.float32(32768) * scale[1])
            weights = (z[:depth].T * scale[0]) * unit
            result = [narrow(weights, NUMPY_DTYPES[outputs[0].dtype])]
            if bias is not None:
                result.append(narrow((z[depth] * np.float32(FULL)) * unit, np.float32))
        return result

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        k, w = required(node, inputs, 2), outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(factor=inputs[0], solved=inputs[1], targets=k, scale=inputs[3], w=w, bias=inputs[5]),
            "workspace": Pointer("workspace"),
            "stride": self.workspace(node, inputs, outputs),
            "wide": len(k.shape) == 3,
            "classes": w.shape[0],
            "depth": w.shape[1],
            "size": k.shape[-1],
        }
        return KernelCall("head_weights", w.dtype, fields)

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return align(4 * required(node, inputs, 2).shape[-1])

    def accumulation(self, node: Node, dtype: str) -> str:
        return "seq-f32"

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        classes, size = required(node, inputs, 2).shape[-2:]
        return classes * size * (size - 1)


def _as_f32(k: Array) -> Float32:
    if k.ndim == 2:
        return k.astype(np.float32)
    high, low = k[0].astype(np.float32), k[1].view(np.uint32).astype(np.float32)
    return np.asarray(high * np.float32(2.0**32) + low)

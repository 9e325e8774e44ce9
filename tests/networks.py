"""Small networks that between them use every kind of layer, for tests of whole training steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx_models import model, node, normal

from mcutrain.ir import Array


def _scaled(*shape: int, seed: int = 0) -> Array:
    """Normal weights [out, ...] that keep activations about ±1."""
    return (normal(*shape, seed=seed) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def residual() -> onnx.ModelProto:
    """[1, 3, 13, 11] to 3 classes: odd sizes, asymmetric padding, depthwise, residual, overlapping maxima."""
    return model(
        [1, 3, 13, 11],
        [
            node("Conv", "x w1 b1", "a", strides=[2, 2], pads=[1, 0, 2, 1]),
            node("LeakyRelu", "a", "b"),
            node("Conv", "b w2 b2", "c", group=5, pads=[1, 1, 1, 1]),
            node("Add", "b c", "d"),
            node("MaxPool", "d", "e", kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1]),
            node("Conv", "e w3 b3", "f"),
            node("Relu", "f", "g"),
            node("GlobalAveragePool", "g", "h"),
            node("Flatten", "h", "i"),
            node("Gemm", "i w4 b4", "y", transB=1),
        ],
        {
            **{"w1": normal(5, 3, 3, 3), "w2": normal(5, 1, 3, 3), "w3": normal(7, 5, 1, 1)},
            **{"w4": normal(3, 7), "b1": normal(5), "b2": normal(5), "b3": normal(7), "b4": normal(3)},
        },
    )


def separable() -> onnx.ModelProto:
    """[1, 4, 12, 10] to 6 classes: even sizes, stride 2, padding 1, groups, dilation, folded batch norm."""
    return model(
        [1, 4, 12, 10],
        [
            node("Conv", "x w1 b1", "a", strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Clip", "a zero six", "b"),
            node("Conv", "b w2 b2", "c", group=18, strides=[2, 2], pads=[1, 1, 1, 1]),
            node("BatchNormalization", "c scale shift mean var", "d"),
            node("Relu", "d", "e"),
            node("Conv", "e w3", "f", group=2, dilations=[1, 2], pads=[1, 2, 1, 2]),
            node("AveragePool", "f", "g", kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1),
            node("Flatten", "g", "h"),
            node("Gemm", "h w4 b4", "i", transB=1),
            node("Softmax", "i", "y"),
        ],
        {
            **{"w1": _scaled(18, 4, 3, 3), "w2": _scaled(18, 1, 3, 3), "w3": _scaled(20, 9, 3, 3)},
            **{"b1": 3 + normal(18), "b2": normal(18), "w4": _scaled(6, 180), "b4": normal(6)},
            **{"zero": 0.0, "six": 6.0, "scale": normal(18, seed=1), "shift": normal(18, seed=2)},
            **{"mean": normal(18, seed=3), "var": np.abs(normal(18, seed=4)) + 0.5},
        },
        opset=17,
    )


def mlp() -> onnx.ModelProto:
    """[3, 33] to 9 values, three rows a step: dense layers and smooth activations, for a regression."""
    return model(
        [3, 33],
        [
            node("Gemm", "x w1 b1", "a", transB=1),
            node("Tanh", "a", "b"),
            node("Gemm", "b w2 b2", "c", transB=1),
            node("Sigmoid", "c", "d"),
            node("MatMul", "d w3", "e"),
            node("Add", "e b3", "y"),
        ],
        {
            **{"w1": _scaled(27, 33), "w2": _scaled(18, 27), "w3": _scaled(18, 9)},
            **{"b1": normal(27), "b2": normal(18), "b3": normal(9)},
        },
    )


#: network, its loss, and what stands for "some layers only"
NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], str, str]] = {
    "residual": (residual, "cross-entropy", "conv2,dense*"),
    "separable": (separable, "cross-entropy", "depthwise*,dense1"),
    "mlp": (mlp, "mse", "dense2"),
}

"""Defects of existing on-device training libraries that must not be ours, one test each."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from arena import check_guards
from kernel_harness import check_kernel, shares
from networks import separable
from onnx import helper, numpy_helper
from onnx_models import model, node, normal, onnxruntime_output

import mcutrain
from mcutrain.errors import MemoryLimitError
from mcutrain.executor import Executor
from mcutrain.verification import make_batches, verify


def loss_with(proto: onnx.ModelProto, name: str, weight: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error by ONNX Runtime with one initializer replaced."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    tensor = next(t for t in changed.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(weight, name))
    return float(np.mean((onnxruntime_output(changed, x).astype(np.float64) - y) ** 2))


def test_defect_1_gradients_with_padding_and_stride() -> None:
    """1: weight and input gradient wrong with padding 1; stride 2 with padding 1 on even sizes refused;
    stride-2 input gradient computed as stride 1; bias gradient indexed wrong.

    The loss is quadratic in each single weight, so ONNX Runtime's central differences are exact for any step.
    """
    proto = model(
        [1, 2, 6, 8],
        [
            node("Conv", "x w1 b1", "a", pads=[1, 1, 1, 1]),
            node("Conv", "a w2 b2", "b", pads=[1, 1, 1, 1], strides=[2, 2]),
            node("Conv", "b w3 b3", "y", pads=[1, 1, 1, 1]),
        ],
        {
            **{"w1": normal(3, 2, 3, 3), "w2": normal(5, 3, 3, 3), "w3": normal(2, 5, 3, 3)},
            **{"b1": normal(3), "b2": normal(5), "b3": normal(2)},
        },
    )
    x, y = normal(1, 2, 6, 8), normal(1, 2, 3, 4, seed=1)
    weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    with mcutrain.compile(proto, loss="mse").session() as device:
        gradients = device.gradients(x, y)
    assert set(gradients) == set(weights)
    for name, weight in weights.items():
        for index in list(np.ndindex(weight.shape))[::3]:
            up, down = weight.copy(), weight.copy()
            up[index] += 1
            down[index] -= 1
            want = (loss_with(proto, name, up, x, y) - loss_with(proto, name, down, x, y)) / 2
            assert gradients[name][index] == pytest.approx(want, rel=1e-3, abs=1e-3), (name, index)


@pytest.mark.parametrize("rows", [17, 18, 20, 25, 27])
def test_defect_2_products_of_ordinary_sizes_on_eight_cores(rows: int) -> None:
    """2: parallel matrix products that write past the end of C, or corrupt it (these rows, 144 columns).

    Eight workers at once, in whole steps; the products alone are swept in ops/test_dense_kernels.py.
    """
    proto = model(
        [rows, 37],
        [node("Gemm", "x w1 b1", "a", transB=1), node("Gemm", "a w2 b2", "y", transB=1)],
        {"w1": normal(144, 37), "b1": normal(144), "w2": normal(rows, 144), "b2": normal(rows)},
    )
    build = mcutrain.compile(proto, precision="mixed", loss="mse", guard=64)
    batches = make_batches(build.manifest, normal(rows, 37), normal(rows, rows), 1)
    with build.session() as device, build.reference() as reference:
        assert device.executor.facts.workers == 8  # type: ignore[attr-defined]
        report = verify(device.executor, reference.executor, build.manifest, batches)
    assert report.equal, report.difference
    check_guards(build, {**batches[0], "hyper": np.float32([0.1, 0, 0, 1])})


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("channels", [16, 21])
def test_defect_3_every_core_does_its_part_only(channels: int, dtype: str) -> None:
    """3: a depthwise backward pass that every core computes in full."""
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    x, dy = (normal(1, 8, 8, channels, seed=seed).astype(dtype) for seed in (1, 2))
    w, acc = normal(3, 3, channels).astype(dtype), normal(3, 3, channels, seed=3)
    parts = {
        "input gradient": shares("DepthwiseConv2dInputGradient", [dy, w], {**attrs, "input_hw": (8, 8)}),
        "weight gradient": shares("DepthwiseConv2dWeightGradient", [x, dy, acc], attrs, inplace={0: 2}),
    }
    for what, written in parts.items():
        assert (np.sum(written, axis=0) == 1).all(), f"{what}: an element has no worker, or more than one"
        largest = max(int(part.sum()) for part in written)
        assert largest <= 1.5 * written[0].size / len(written), f"{what}: one worker does {largest} elements"


def test_defect_4_sums_and_weights_beyond_16_bits() -> None:
    """4: all sums kept in 16 bits; no loss scaling; w -= lr * g in 16 bits."""
    ones = np.ones((1, 4096), np.float16)
    (y,) = check_kernel("Dense", [ones, ones])
    assert y == 4096  # a sum in FP16 stays at 2048
    column = np.ones((4096, 1), np.float16)
    (acc,) = check_kernel("DenseWeightGradient", [column, column, np.zeros((1, 1), "f4")], inplace={0: 2})
    assert acc == 4096

    start = {"w": np.ones((1, 1), np.float32), "b": np.zeros(1, np.float32)}
    proto = model([1, 1], [node("Gemm", "x w b", "y", transB=1)], start)
    x, y = np.ones((4, 1), np.float32), np.full((4, 1), 0.5, np.float32)
    with mcutrain.compile(proto, precision="mixed", loss="mse").session() as device:
        device.train(x[:1], y[:1], lr=1e-4)  # the gradient is 1
        assert 1 - float(device.weights()["w"][0, 0]) == pytest.approx(1e-4, rel=1e-2)
        assert np.float16(1) - np.float16(1e-4) == 1, "FP16 weights would have kept their value"

        device.load({"w": np.zeros((1, 1), np.float32), "b": np.zeros(1, np.float32)})
        gradient = float(device.gradients(x[:1], np.full((1, 1), -1e-8, np.float32))["b"][0])
        assert gradient == pytest.approx(2e-8, rel=1e-2)
        assert np.float16(2e-8) == 0, "an FP16 gradient that is not scaled would be lost"

        device.load(start)
        device.train(x[:1], y[:1] - 1000, lr=0.01)  # the gradient times the scale: 2000 * 1024
        assert all((device.weights()[name] == start[name]).all() for name in start), "a step with infinities"
        run = device.train(x, y - 1000, lr=0.01, epochs=8)
        last = run.epochs[-1]
        assert (last.skipped, last.loss_scale) == (5, 32)
        assert run.losses[-1] < 0.5 * run.losses[0]


class OneBitOff:
    """An Executor that gives one tensor with the last bit of its first element turned over."""

    def __init__(self, executor: Executor, tensor: str) -> None:
        self.executor, self.tensor = executor, tensor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)

    def run(
        self,
        program: str,
        inputs: Mapping[str, np.ndarray] | None = None,
        outputs: Sequence[str] = (),
        calls: tuple[int, int] | None = None,
    ) -> dict[str, np.ndarray]:
        got = self.executor.run(program, inputs, outputs, calls)
        if program == "train_step" and self.tensor in got:
            got[self.tensor].view("u4").flat[0] ^= 1
        return got


def test_defect_5_checks_that_do_not_see() -> None:
    """5: checks that pass on NaN, that compare only the loss, or that a core-id guard made vacuous."""
    build = mcutrain.compile(separable(), loss="cross-entropy")
    rest = (build.manifest, make_batches(build.manifest, normal(1, 4, 12, 10), np.array([3]), 1))
    with build.session() as device, build.reference() as reference:
        assert verify(device.executor, reference.executor, *rest).equal
        bias = "depthwise1.bias.gradient"  # the loss of the step is right
        difference = verify(OneBitOff(device.executor, bias), reference.executor, *rest).difference
        assert difference is not None
        assert (difference.tensor, difference.count, difference.nan) == (bias, 1, False)

        weight = device.executor.read(["dense1.weight"])
        device.executor.write({"dense1.weight": np.full_like(weight["dense1.weight"], np.nan)})
        report = verify(device.executor, reference.executor, *rest)  # the reference starts from the NaN too
        assert not report.equal
        assert report.difference is not None
        assert report.difference.nan


def test_defect_6_batch_norm_at_batch_1() -> None:
    """6: running statistics never updated cost 17.8 points: ours are the model's, folded, and stay true.

    After training at batch 1 the saved model scores in ONNX Runtime as on the device.
    """
    proto = separable()
    build = mcutrain.compile(proto, loss="cross-entropy")
    x, y = normal(12, 4, 12, 10), np.arange(12) % 6
    with build.session() as device:
        untrained = np.concatenate([onnxruntime_output(proto, row[None]) for row in x])
        np.testing.assert_allclose(device.infer(x), untrained, atol=1e-5)
        run = device.train(x, y, epochs=4, lr=0.02)
        assert run.epochs[-1].loss < run.epochs[0].loss
        scores, weights = device.infer(x), device.weights()
    assert np.abs(scores - untrained).max() > 0.01
    build.save_onnx(build.directory / "trained.onnx", weights)
    saved = onnx.load(build.directory / "trained.onnx")
    np.testing.assert_allclose(
        np.concatenate([onnxruntime_output(saved, row[None]) for row in x]), scores, atol=1e-5
    )


def test_defect_7_memory_is_refused_and_code_is_the_same(tmp_path: Path) -> None:
    """7: memory overflow printed, not refused; generated code that differs from run to run."""
    onnx.save(separable(), tmp_path / "m.onnx")
    images = set()
    for seed in ("1", "2"):
        code = (
            "import mcutrain, sys; mcutrain.compile(sys.argv[1], out=sys.argv[2], target='native',"
            " precision='mixed', loss='cross-entropy', momentum=True)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "m.onnx"), str(tmp_path / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        digest = hashlib.sha256()
        for path in sorted((tmp_path / seed).rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(tmp_path / seed)).encode() + path.read_bytes())
        images.add(digest.digest())
    assert len(images) == 1

    big = model(
        [1, 4096],
        [node("Gemm", "x w b", "y", transB=1)],
        {"w": np.zeros((2048, 4096), np.float32), "b": np.zeros(2048, np.float32)},
    )
    with pytest.raises(
        MemoryLimitError, match=r"[0-9]+ bytes needed, [0-9]+ available.*'dense1\.weight"
    ) as caught:
        mcutrain.compile(big, target="qemu", loss="mse", out=tmp_path / "big")
    assert caught.value.remedy
    assert not (tmp_path / "big").exists()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_defect_8_ties_of_a_maximum(levels: int) -> None:
    """8: max-pool ties resolved differently from ONNX Runtime (the first index wins)."""
    kernel, strides, pads = (3, 3), (2, 1), (1, 0, 1, 2)
    x = np.random.default_rng(levels).integers(0, levels, (1, 2, 9, 8)).astype(np.float32)
    pool = helper.make_node("MaxPool", ["x"], ["y", "at"], kernel_shape=kernel, strides=strides, pads=pads)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [pool],
        "pool",
        [value("x", onnx.TensorProto.FLOAT, x.shape)],
        [value("y", onnx.TensorProto.FLOAT, None), value("at", onnx.TensorProto.INT64, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    _, at = session.run(None, {"x": x})
    dy = np.random.default_rng(9).integers(1, 9, at.shape).astype(np.float32)
    want = np.zeros(x.size, np.float32)
    np.add.at(want, at.ravel(), dy.ravel())
    attrs = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": (1, 1)}
    x, dy = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, dy))
    (dx,) = check_kernel("MaxPool2dGradient", [x, dy], attrs)
    np.testing.assert_array_equal(dx.transpose(0, 3, 1, 2).ravel(), want)


def test_defect_9_gradients_are_our_own(tmp_path: Path) -> None:
    """9: training graphs taken from ONNX Runtime's training packages, which ended with 1.19.2."""
    onnx.save(separable(), tmp_path / "m.onnx")
    code = """
import sys
sys.modules.update(dict.fromkeys(("onnxruntime", "onnxruntime.training", "torch", "tensorflow")))
import mcutrain, numpy as np
build = mcutrain.compile(sys.argv[1], target="native", loss="cross-entropy")
with build.session() as device:
    device.train(np.ones((2, 4, 12, 10), np.float32), np.array([1, 5]))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.onnx")], check=True)

"""Training on the device leads somewhere: ONNX Runtime confirms the accuracy; divergence stops it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx_models import model, node

import mcutrain
from mcutrain import data
from mcutrain.errors import DivergedError
from mcutrain.events import EpochEvent, Event
from mcutrain.executor import Array
from mcutrain.manifest import Precision

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits_cnn.py"


@pytest.fixture(scope="module")
def digits_cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's CNN with fresh weights."""
    spec = importlib.util.spec_from_file_location("digits_cnn", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    path = tmp_path_factory.mktemp("digits") / "cnn.onnx"
    example.fresh_model(path)
    return path


def onnxruntime_accuracy(path: Path, x: Array, y: Array) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return float(
        np.mean([session.run(None, {name: x[i : i + 1]})[0].argmax() == y[i] for i in range(len(x))])
    )


@pytest.mark.parametrize(("precision", "train"), [("mixed", "*"), ("mixed", "conv3,dense1"), ("fp32", "*")])
def test_digits_are_learnt_and_onnx_runtime_agrees(
    digits_cnn: Path, tmp_path: Path, precision: Precision, train: str
) -> None:
    build = mcutrain.compile(
        digits_cnn, precision=precision, loss="cross-entropy", momentum=True, train=train
    )
    digits, shape = data.load("digits"), data.ModelShape.of(build.manifest)
    (x, y), (x_test, y_test) = digits.part("train", shape), digits.part("test", shape)
    with build.session() as device:
        device.train(x, y, epochs=1, lr=0.02, momentum=0.9, batch=8)
        accuracy = device.evaluate(x_test, y_test).accuracy
        build.save_onnx(tmp_path / "trained.onnx", device.weights())
    assert accuracy is not None
    assert accuracy > 0.85
    images, labels = np.asarray(x_test[:]).reshape(-1, 1, 8, 8), np.asarray(y_test[:])
    assert abs(onnxruntime_accuracy(tmp_path / "trained.onnx", images, labels) - accuracy) <= 0.005

    # the file is the input model but for the trained initializers
    before, after = onnx.load(digits_cnn), onnx.load(tmp_path / "trained.onnx")
    trained = {p.origin.initializer for p in build.manifest.trained() if p.origin}
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert (old.name, old.dims, old.data_type) == (new.name, new.dims, new.data_type)
        changed = not np.array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new))
        assert changed == (old.name in trained)
        new.CopyFrom(old)
    del after.metadata_props[:]
    assert after == before


@pytest.mark.data
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_resnet8_on_raw_pixels_diverges_at_one_rate_for_all(mlperf_tiny: Path, precision: Precision) -> None:
    """conv1 sees 0..255, so its gradient is far larger than its weights: the advice says so."""
    build = mcutrain.compile(mlperf_tiny / "resnet8_ic.onnx", precision=precision, loss="cross-entropy")
    x, y = data.load(mlperf_tiny / "cifar10_subset.npz").part("train", data.ModelShape.of(build.manifest))
    with build.session() as device:
        before = device.weights()
        with pytest.raises(DivergedError, match="the weights before training were put back") as caught:
            device.train(x[:300], y[:300], lr=0.01)
        after = device.weights()
    advice = caught.value.remedy
    assert advice.startswith("conv1's gradient is ")
    for word in ("--train", "--lr 0.001", "scale the inputs"):
        assert word in advice
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_weights_of_the_last_good_epoch_come_back(dense_model: Path) -> None:
    """Something ruins the second epoch; NaN stops it, and the first epoch's weights are put back."""
    build = mcutrain.compile(dense_model, precision="fp32", loss="cross-entropy")
    x, y = data.load("digits").part("train", data.ModelShape.of(build.manifest))
    good: dict[str, Array] = {}
    with build.session() as device:

        def ruin(event: Event) -> None:
            if isinstance(event, EpochEvent):
                good.update(device.weights())
                weight = build.manifest.tensor("dense1.weight")
                device.executor.write({weight.name: np.full(weight.shape, 3e38, np.float32)})

        with pytest.raises(DivergedError, match=r"epoch 2, step 1: the loss is (nan|inf)") as caught:
            device.train(x[:80], y[:80], epochs=3, lr=0.05, batch=8, on_event=ruin)
        assert "the weights of epoch 1 were put back" in caught.value.reason
        after = device.weights()
    assert all(np.array_equal(good[name], after[name]) for name in good)


def test_a_gradient_that_overflows_at_every_scale_is_divergence() -> None:
    weights = {"w": np.ones((1, 1), np.float32), "b": np.zeros(1, np.float32)}
    build = mcutrain.compile(
        model([1, 1], [node("Gemm", "x w b", "y", transB=1)], weights), precision="mixed", loss="mse"
    )
    x, y = np.ones((40, 1), np.float32), np.full((40, 1), 60000, np.float32)
    with build.session() as device:
        with pytest.raises(DivergedError, match="overflowed at the smallest loss scale") as caught:
            device.train(x, y, lr=1e-6)
        assert "--lr" in caught.value.remedy
        assert all(np.array_equal(device.weights()[name], weights[name]) for name in weights)

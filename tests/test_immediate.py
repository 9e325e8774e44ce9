"""Immediate updates: the steps of batch 1, without accumulators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import residual
from onnx_models import model, node, normal

import mcutrain
from mcutrain.errors import OptionError
from mcutrain.executor import same_bits
from mcutrain.manifest import Loss, Precision
from mcutrain.verification import make_batches, verify


def network(*, shared: bool = False) -> onnx.ModelProto:
    """[1, 21] to 7 values by way of odd sizes; with ``shared``, one weight serves twice."""
    nodes = [
        node("Gemm", "x w1 b1", "a", transB=1),
        node("Relu", "a", "b"),
        node("Gemm", "b w2", "c", transB=1),
        node("Relu", "c", "d"),
        node("Gemm", "d w2" if shared else "d w3", "e", transB=1),
        node("Gemm", "e w4 b4", "y", transB=1),
    ]
    weights = {"w1": normal(12, 21) / 5, "w2": normal(12, 12, seed=1) / 4, "w4": normal(7, 12, seed=3) / 4}
    if not shared:
        weights["w3"] = normal(12, 12, seed=2) / 4
    return model([1, 21], nodes, {**weights, "b1": normal(12), "b4": normal(7)})


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    return normal(24, 21, seed=5), np.random.default_rng(6).integers(0, 7, 24)


@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_the_same_training_but_for_rounding(
    precision: Precision, decay: float, samples: tuple[np.ndarray, np.ndarray]
) -> None:
    trained, memory = [], []
    for immediate in (False, True):
        build = mcutrain.compile(network(), precision=precision, loss="cross-entropy", immediate=immediate)
        memory.append(build.manifest.data_size + build.manifest.arena_size)
        with build.session() as device, build.reference() as reference:
            for learner in (device, reference):
                run = learner.train(*samples, epochs=2, lr=0.05, weight_decay=decay)
            trained.append((device.weights(), run.losses))
            expected = reference.weights()
        assert all(same_bits(value, expected[name]) for name, value in trained[-1][0].items())
    parameters = sum(value.size for value in trained[0][0].values())
    assert memory[0] - memory[1] >= 4 * parameters
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    np.testing.assert_allclose(trained[1][1], trained[0][1], rtol=tolerance, atol=tolerance)
    for name, value in trained[0][0].items():
        np.testing.assert_allclose(trained[1][0][name], value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    "target",
    [
        "native",
        pytest.param("qemu-xpulp", marks=pytest.mark.qemu),
        pytest.param("gvsoc", marks=pytest.mark.gvsoc),
    ],
)
def test_every_tensor_of_every_call(target: str, samples: tuple[np.ndarray, np.ndarray]) -> None:
    build = mcutrain.compile(
        network(), target=target, precision="mixed", loss="cross-entropy", immediate=True, guard=64
    )
    batches = make_batches(build.manifest, *samples, 3)
    with build.session() as device, build.reference() as reference:
        report = verify(
            device.executor, reference.executor, build.manifest, batches, lr=0.05, weight_decay=0.01
        )
    assert report.equal, report.difference
    assert report.steps == 3
    assert report.skipped == 0


def test_an_overflow_stops_the_step_where_it_appears(samples: tuple[np.ndarray, np.ndarray]) -> None:
    """The layer whose gradient overflows and those below it keep their weights; the scale halves."""
    x, y = samples
    build = mcutrain.compile(network(), precision="mixed", loss="cross-entropy", immediate=True)
    with build.session() as device, build.reference() as reference:
        for learner in (device, reference):
            learner.executor.write({"loss_scale": np.float32([2.0**26])})
            before = learner.weights()
            learner.train(x[:1], y[:1], lr=0.01)
        after, expected = device.weights(), reference.weights()
        state = device.executor.read(["loss_scale", "skipped_steps", "overflow"])
    assert all(same_bits(after[name], expected[name]) for name in after)
    kept = [name for name in ("w1", "w2", "w3", "w4") if same_bits(after[name], before[name])]
    assert kept
    assert kept == ["w1", "w2", "w3", "w4"][: len(kept)]
    assert state["loss_scale"][0] == 2.0**25
    assert state["skipped_steps"][0] == 1
    assert state["overflow"][0] == 0


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_refusals(loss: Loss, samples: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(OptionError, match=r"conv1.*is not"):
        mcutrain.compile(residual(), loss="cross-entropy", immediate=True)
    mcutrain.compile(residual(), loss="cross-entropy", immediate=True, train="dense*")
    with pytest.raises(OptionError, match="used more than once"):
        mcutrain.compile(network(shared=True), loss=loss, immediate=True)
    with pytest.raises(OptionError, match="momentum"):
        mcutrain.compile(network(), loss=loss, immediate=True, momentum=True)
    build = mcutrain.compile(network(), loss="cross-entropy", immediate=True)
    with build.session() as device:
        with pytest.raises(OptionError, match="after every sample"):
            device.train(*samples, batch=2)
        with pytest.raises(OptionError, match="keeps no gradients"):
            device.gradients(*samples)
        with pytest.raises(OptionError, match="keeps no gradients"):
            device.ratios(*samples)

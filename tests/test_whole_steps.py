"""Whole training steps, tensor by tensor and bit by bit: firmware against the reference, between guard bytes.

The small networks of :mod:`networks` need nothing beside the project; MLPerf Tiny models are marked ``data``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from arena import check_guards
from networks import NETWORKS

import mcutrain
from mcutrain import data
from mcutrain.build import Build
from mcutrain.executor import Array
from mcutrain.manifest import Loss, Precision
from mcutrain.verification import make_batches, verify

QEMU = pytest.param("qemu", marks=pytest.mark.qemu)
XPULP = pytest.param("qemu-xpulp", marks=pytest.mark.qemu)
GVSOC = pytest.param("gvsoc", marks=pytest.mark.gvsoc)
PRECISIONS = ["fp32", "mixed"]
#: teams of cores each target runs with; a simulated core costs a host process's time
WORKERS = {"native": (1, 2, 4, 8), "qemu": (8,), "qemu-xpulp": (8,), "gvsoc": (8,)}
#: MLPerf Tiny model, its data set (none: smooth random spectra in dB), its loss,
#: and a rate for all layers at which ten steps of one sample do not diverge (ResNet8 takes raw pixels)
MODELS: dict[str, tuple[str, Loss, float]] = {
    "dscnn_kws": ("kws01.npz", "cross-entropy", 1e-3),
    "resnet8_ic": ("cifar10_subset.npz", "cross-entropy", 1e-7),
    "autoencoder_ad": ("", "mse", 1e-6),
}


def check(
    build: Build,
    batches: Sequence[Mapping[str, Array]],
    workers: Sequence[int],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    """Assert that every tensor of one step per batch has the reference's bits, with every team of workers."""
    for team in workers:
        with build.session(workers=team) as session, build.reference() as reference:
            report = verify(
                session.executor,
                reference.executor,
                build.manifest,
                batches,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
            )
        assert report.equal, f"{team} workers: {report.difference}"
        assert (report.steps, report.skipped) == (len(batches), 0)
        calls = {program.name: len(program.calls) for program in build.manifest.programs}
        once = calls.pop("infer") + calls.pop("evaluate")
        assert report.calls == once + len(batches) * sum(calls.values()), "not everything was compared"
        expected = "pair-f32" if build.manifest.options.precision == "mixed" else "seq-f32"
        assert report.rules == {expected}


@pytest.mark.parametrize("target", ["native", QEMU])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("part", [False, True], ids=["all", "part"])
@pytest.mark.parametrize("network", NETWORKS)
def test_small_networks(network: str, part: bool, precision: Precision, target: str) -> None:
    """Two steps with momentum and weight decay, of all layers and of some."""
    make, loss, some = NETWORKS[network]
    build = mcutrain.compile(
        make(),
        target=target,
        precision=precision,
        loss=loss,  # type: ignore[arg-type]
        momentum=True,
        train=some if part else "*",
        guard=32,
    )
    assert part == any(not p.trained for p in build.manifest.parameters())
    entry = build.manifest.tensor("input")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2 * entry.shape[0], *entry.shape[1:])).astype(np.float32)
    y = rng.normal(size=(6, 9)).astype(np.float32) if loss == "mse" else np.array([2, 0])
    batches = make_batches(build.manifest, x, y, 2)
    check(build, batches, WORKERS[target], lr=0.05, momentum=0.9, weight_decay=0.01)
    hyper = np.array([0.05, 0.9, 0.01, 1.0], np.float32)
    assert check_guards(build, {**batches[0], "hyper": hyper}) > 1000


def check_real(
    mlperf_tiny: Path, model: str, precision: Precision, target: str, steps: int, immediate: bool = False
) -> None:
    file, loss, rate = MODELS[model]
    build = mcutrain.compile(
        mlperf_tiny / f"{model}.onnx", target=target, precision=precision, loss=loss, immediate=immediate
    )
    if file:
        x, y = data.load(mlperf_tiny / file).part("train", data.ModelShape.of(build.manifest))
    else:
        spectra = np.cumsum(np.random.default_rng(7).normal(0, 0.3, (steps, 640)), axis=1)
        x = y = ((spectra - spectra.mean(1, keepdims=True)) - 20).astype(np.float32)
    batches = make_batches(build.manifest, x, y, steps)
    check(build, batches, WORKERS[target], lr=rate, weight_decay=1e-4)


@pytest.mark.data
@pytest.mark.parametrize("target", ["native", QEMU])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_step_of_a_real_model(mlperf_tiny: Path, model: str, precision: Precision, target: str) -> None:
    check_real(mlperf_tiny, model, precision, target, steps=1)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("target", ["native", QEMU])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_ten_steps_of_a_real_model(mlperf_tiny: Path, model: str, precision: Precision, target: str) -> None:
    check_real(mlperf_tiny, model, precision, target, steps=10)


@pytest.mark.data
@pytest.mark.parametrize("target", [XPULP])
@pytest.mark.parametrize("model", MODELS)
def test_a_step_on_pulp(mlperf_tiny: Path, model: str, target: str) -> None:
    """In FP16, all kernels in tiles; the autoencoder fits with immediate updates."""
    check_real(mlperf_tiny, model, "mixed", target, steps=1, immediate=model == "autoencoder_ad")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("target", [GVSOC])
@pytest.mark.parametrize("model", MODELS)
def test_ten_steps_on_pulp(mlperf_tiny: Path, model: str, target: str) -> None:
    check_real(mlperf_tiny, model, "mixed", target, steps=10, immediate=model == "autoencoder_ad")

"""Target gvsoc: found, probed and always ended; a training step there has the reference's bits."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mcutrain
from mcutrain import doctor
from mcutrain.compiler.elf import read_elf
from mcutrain.errors import DeviceError, SimulatorError
from mcutrain.simulators import gvsoc
from mcutrain.verification import make_batches, verify


def processes(group: int) -> list[int]:
    """Processes of a process group."""
    listing = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    pairs = (map(int, line.split()) for line in listing.splitlines())
    return [pid for pid, own in pairs if own == group]


def ended(group: int, seconds: float = 5.0) -> bool:
    """Whether a process group is gone, or goes within some seconds."""
    deadline = time.monotonic() + seconds
    while processes(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for a command called gvsoc, the only one in sight."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.delenv(gvsoc.HOME_VARIABLE, raising=False)
    return folder / gvsoc.EXECUTABLE


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_missing_gvsoc_says_how_to_get_it(fake: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"no gvsoc in PATH — build it from .*TARGETS=pulp-open"):
        gvsoc.start(tmp_path / "firmware.elf")


def test_the_home_folder_comes_first(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(fake)
    assert gvsoc.find() == str(fake)
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    monkeypatch.setenv(gvsoc.HOME_VARIABLE, str(home))
    assert gvsoc.find() == str(fake)
    script(home / "bin" / "gvsoc")
    assert gvsoc.find() == str(home / "bin" / "gvsoc")


def test_a_gvsoc_that_does_not_run_is_quoted(fake: Path) -> None:
    script(fake, "echo ModuleNotFoundError: prettytable", "exit 1")
    with pytest.raises(
        SimulatorError, match=r"a probe failed: ModuleNotFoundError: prettytable — build GVSoC"
    ):
        gvsoc.probe(str(fake))
    finding = next(finding for finding in doctor.examine() if finding.name == "GVSoC")
    assert not finding.found
    assert "prettytable" in finding.detail
    assert not finding.required


def test_a_probe_that_hangs_is_ended(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(fake, f"ps -o pgid= -p $$ > {tmp_path}/group", "sleep 60")
    monkeypatch.setattr(gvsoc, "_PATIENCE", 1.0)
    with pytest.raises(SimulatorError, match="a probe did not end"):
        gvsoc.probe(str(fake))
    assert ended(int((tmp_path / "group").read_text()))


def test_the_probe_is_an_elf_file(tmp_path: Path) -> None:
    path = tmp_path / "probe.elf"
    path.write_bytes(gvsoc._probe_binary())
    assert read_elf(path).sections == ()


def make_cnn(path: Path, first: int = 5, second: int = 6) -> Path:
    """Input [1, 2, 8, 8]: convolution, depthwise, stride 2, pooling, dense, with so many channels."""
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (first, 2, 3, 3),
        "b1": (first,),
        "w2": (first, 1, 3, 3),
        "w3": (second, first, 3, 3),
        "b3": (second,),
        "w4": (3, 4 * second),
    }
    weights = [
        numpy_helper.from_array((rng.normal(size=shape) / 3).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "one", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "two", pads=[1, 1, 1, 1], group=first),
        helper.make_node("Conv", ["c2", "w3", "b3"], ["c3"], "three", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MaxPool", ["c3"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w4"], ["y"], "four", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.mark.gvsoc
@pytest.mark.parametrize("channels", [(5, 6), (8, 20)])
@pytest.mark.parametrize("precision", ["mixed", "fp32"])
def test_training_steps_have_the_bits_of_the_reference(
    tmp_path: Path, precision: str, channels: tuple[int, int]
) -> None:
    build = mcutrain.compile(
        make_cnn(tmp_path / "cnn.onnx", *channels),
        target="gvsoc",
        precision=precision,  # type: ignore[arg-type]
        loss="cross-entropy",
        momentum=True,
        guard=16,
    )
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(3, 2, 8, 8)).astype(np.float32), np.array([0, 2, 1])
    batches = make_batches(build.manifest, x.transpose(0, 2, 3, 1), y, 2)
    for workers in (None, 3):
        with build.session(workers=workers) as device, build.reference() as reference:
            report = verify(device.executor, reference.executor, build.manifest, batches, momentum=0.9)
        assert report.equal, report.difference
        assert report.steps == 2


@pytest.mark.gvsoc
def test_cores_without_an_instruction_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCUTRAIN_CFLAGS", "-DMCT_XPULP_DOT_FUNCT3=2")  # as other PULP cores encode it
    build = mcutrain.compile(make_cnn(tmp_path / "cnn.onnx"), target="gvsoc", precision="mixed")
    with pytest.raises(DeviceError, match=r"GVSoC cannot run this build: the cores lack vfdotpex\.s\.h"):
        build.session()


@pytest.mark.gvsoc
def test_a_killed_host_leaves_nothing_behind(tmp_path: Path) -> None:
    build = mcutrain.compile(make_cnn(tmp_path / "cnn.onnx"), target="gvsoc", out=tmp_path / "build")
    program = (
        "import sys, time; from pathlib import Path; from mcutrain.simulators import gvsoc;"
        "t = gvsoc.start(Path(sys.argv[1])); print(t.process.identifier, flush=True); time.sleep(60)"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program, str(build.firmware_path)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    group = int(host.stdout.readline())
    assert processes(group)
    os.kill(host.pid, signal.SIGKILL)
    host.wait()
    host.stdout.close()
    assert ended(group)


@pytest.mark.gvsoc
def test_doctor_has_run_it() -> None:
    finding = next(finding for finding in doctor.examine() if finding.name == "GVSoC")
    assert finding.found
    assert "pulp-open" in finding.detail

"""Sums of a profile, its document and its picture, on counts made by hand."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree

import pytest

from mcutrain.device.profile import CallCounts
from mcutrain.manifest import CallEntry
from mcutrain.profiling import Call, Profile, ProgramProfile, Row, direction_of, layer_of, merge, timeline

SVG = "{http://www.w3.org/2000/svg}"


def worker(begin: int, end: int, **counts: int) -> dict[str, int]:
    zeros = dict.fromkeys(
        ("barrier", "dma_wait", "instructions", "load_stalls", "fetch_stalls", "fpu_stalls"), 0
    )
    return {"begin": begin, "end": end, **zeros, **counts}


def call(
    number: int, layer: str, direction: str, counts: CallCounts, macs: int = 0, program: str = "train_step"
) -> Call:
    return Call(program, number, layer, direction, "Op", "kernel_f16", macs, counts)


def example(runs: int = 1) -> Profile:
    """Two workers; Program `train_step` of 200 cycles, 190 of them in calls, and `apply` of 60."""
    first = CallCounts(
        0, 0, 100, 30, (worker(10, 90, instructions=60, fpu_stalls=20), worker(10, 50, barrier=5, dma_wait=7))
    )
    second = CallCounts(1, 105, 195, 0, (worker(106, 194), worker(106, 194)))
    third = CallCounts(0, 5, 35, 10, (worker(6, 30), worker(6, 30)))
    fourth = CallCounts(1, 35, 55, 10, (worker(36, 40), worker(36, 40)))
    step = (
        call(0, "conv <1>", "forward", first, 400),
        call(1, "conv <1>", "weight gradient", second, 600),
    )
    apply = (
        call(0, "conv <1>", "update", third, 0, "apply"),
        call(1, "dense", "update", fourth, 0, "apply"),
    )
    return Profile(
        "net & more",
        "ab" * 32,
        "gvsoc",
        "mixed",
        2,
        "cycles",
        "cycles of the cores",
        (
            ProgramProfile("train_step", 196.0, 200.0, (step,) * runs),
            ProgramProfile("apply", 58.0, 60.0, (apply,) * runs),
        ),
    )


@pytest.mark.parametrize("runs", [1, 3])
def test_rows_are_sums(runs: int) -> None:
    profile = example(runs)
    forward, gradient, update = profile.rows()
    assert (forward.layer, forward.direction, forward.calls, forward.macs) == ("conv <1>", "forward", 1, 400)
    assert forward.duration == pytest.approx(100)
    assert forward.macs_per_unit == pytest.approx(4)
    assert forward.worker_time == pytest.approx(200)
    assert forward.idle == pytest.approx(80)
    assert forward.share("fpu_stalls") == pytest.approx(0.1)
    assert forward.share("barrier") == pytest.approx(0.025)
    assert forward.share("dma_wait") == pytest.approx(0.035)
    assert forward.transfers == pytest.approx(30)
    assert forward.other_stalls == pytest.approx(200 - 80 - 60 - 20 - 5 - 7)
    assert gradient.duration == pytest.approx(90)
    # a Program without multiply-accumulates is one row a direction
    assert (update.program, update.layer, update.calls) == ("apply", "", 2)
    assert update.duration == pytest.approx(50)
    assert profile.duration == pytest.approx(254)
    assert profile.macs == 1000
    assert [program.between for program in profile.programs] == pytest.approx([10, 10])
    assert [row.direction for row in profile.by_direction()] == ["forward", "weight gradient", "update"]


def test_what_one_call_does_not_count_is_not_summed() -> None:
    bare = CallCounts(0, 0, 100, None, ({"begin": 5, "end": 95}, {}))
    program = ProgramProfile("infer", 100.0, 100.0, ((call(0, "a", "forward", bare, 5, "infer"),),))
    (row,) = dataclasses.replace(example(), programs=(program,)).rows()
    assert row.duration == 100
    assert (row.idle, row.barrier, row.transfers, row.other_stalls) == (None, None, None, None)
    assert row.share("barrier") is None
    known = Row("infer", "a", "forward", barrier=3.0)
    (both,) = merge([known, row], lambda row: (row.program, "", ""))
    assert both.barrier is None


def test_the_document() -> None:
    document = json.loads(json.dumps(example().as_json()))
    assert document["format"] == 1
    assert document["unit"] == "cycles"
    assert document["duration"] == 254
    assert [program["name"] for program in document["programs"]] == ["train_step", "apply"]
    first = document["programs"][0]["calls"][0]
    assert first["layer"] == "conv <1>"
    assert first["workers"][1]["barrier"] == 5
    assert sum(row["macs"] for row in document["rows"]) == document["macs"] == 1000
    assert document["rows"][0]["macs_per_unit"] == 4
    assert {row["direction"] for row in document["directions"]} == {"forward", "weight gradient", "update"}


def rectangles(profile: Profile) -> list[dict[str, str]]:
    return [element.attrib for element in ElementTree.fromstring(timeline(profile)).iter(f"{SVG}rect")]


def test_the_picture_is_well_formed_and_complete() -> None:
    profile = example()
    root = ElementTree.fromstring(timeline(profile))
    assert root.tag == f"{SVG}svg"
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "net & more on gvsoc, mixed, 2 workers" in texts
    assert {"core 0", "core 1", "DMA"} <= set(texts)
    titles = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert any(title.startswith("conv <1>, forward (Op): 100 cycles, 400 MAC, 4.00") for title in titles)
    width = float(root.attrib["width"])
    for rectangle in rectangles(profile):
        assert float(rectangle.get("x", "0")) + float(rectangle["width"]) <= width
        assert float(rectangle["height"]) >= 0


def test_lanes_are_as_long_as_the_counts() -> None:
    """All cores together have worked 80 + 40 + 4 · 88 cycles of train_step, and the DMA 30 of 100."""
    from mcutrain.profiling.timeline import LANE, LEFT, RIGHT, WIDTH

    program = example().programs[0]
    profile = dataclasses.replace(example(), programs=(program,))
    pixels = (WIDTH - LEFT - RIGHT) / -(-195 // 6)
    base = [r for r in rectangles(profile) if r["fill"] == "#6aa84f" and r["height"] == f"{LANE:.2f}"]
    assert sum(float(r["width"]) for r in base) == pytest.approx(pixels * (80 + 40 + 2 * 88), abs=0.2)
    dma = [r for r in rectangles(profile) if r["fill"] == "#45818e" and float(r["width"]) != 10]
    area = sum(float(r["width"]) * float(r["height"]) for r in dma)
    assert area == pytest.approx(pixels * 100 * LANE * 0.3, rel=0.01)


def test_a_profile_without_counters_is_drawn() -> None:
    bare = CallCounts(0, 0, 100, None, ({"begin": 5, "end": 95}, {"begin": 5, "end": 5}))
    program = ProgramProfile("infer", 0.0, 0.0, ((call(0, "a", "forward", bare),),))
    profile = dataclasses.replace(example(), programs=(program,), unit="ns")
    texts = [element.text for element in ElementTree.fromstring(timeline(profile)).iter(f"{SVG}text")]
    assert "DMA" not in texts
    assert "barrier" not in texts
    ElementTree.fromstring(timeline(dataclasses.replace(profile, programs=())))


@pytest.mark.parametrize(
    ("op", "node", "backward", "direction"),
    [
        ("Conv2d", "conv1", False, "forward"),
        ("Conv2dWeightGradient", "conv1.weight_gradient", True, "weight gradient"),
        ("DepthwiseConv2dInputGradient", "d.input_gradient", True, "input gradient"),
        ("Dense", "dense1.dense", True, "input gradient"),
        ("RoundedDense", "dense1", False, "forward"),
        ("DenseUpdate", "dense1.weight.update", True, "weight gradient, update"),
        ("BiasGradient", "dense1.bias_gradient", True, "bias gradient"),
        ("ActivationGradient", "relu1.activation_gradient", True, "activation gradient"),
        ("AveragePool2dGradient", "pool.gradient", True, "gradient"),
        ("Add", "relu1.output.gradient_sum", True, "gradient"),
        ("Add", "add1", False, "forward"),
        ("Cast", "conv1.round", False, "rounding"),
        ("Transpose", "conv1.transpose", True, "transposition"),
        ("Transpose", "transpose1", False, "forward"),
        ("CrossEntropyLoss", "loss", False, "loss"),
        ("UnlearningLoss", "loss", False, "loss"),
        ("Sgd", "conv1.weight.update", False, "update"),
        ("Fill", "conv1.weight.zero", False, "clear"),
    ],
)
def test_directions(op: str, node: str, backward: bool, direction: str) -> None:
    assert direction_of(CallEntry("kernel", node, op, (), ()), backward) == direction


def test_layers(dense_manifest: object) -> None:
    from mcutrain.manifest import Manifest

    assert isinstance(dense_manifest, Manifest)
    first = dense_manifest.layers[0].name
    assert layer_of(dense_manifest, first) == first
    assert layer_of(dense_manifest, f"{first}.weight_gradient") == first
    assert layer_of(dense_manifest, f"{first}0.weight") == f"{first}0"
    assert layer_of(dense_manifest, "loss") == "loss"

"""The compiler's picture of tiles against the kernels: forced tiles, on qemu-xpulp and GVSoC.

A kernel that is told a tile and has room for it starts certain transfers; with too little room it works from
the large memory, and starts others. So it can be asked whether the bytes that the compiler counts are enough,
and whether they are too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import kernel_harness
import numpy as np
import pytest
from remote_kernels import TARGETS, Remote

from mcutrain.compiler import tiles
from mcutrain.ops import op_for
from mcutrain.targets import find_target

#: Bytes that the compiler may count too many: tables and structures are rounded up.
SLACK = 640


@dataclass(frozen=True)
class Call:
    """An operator on operands of these shapes; ``wide`` are binary32, ``inplace`` as of check_kernel."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    wide: tuple[int, ...] = ()
    inplace: dict[int, int] = field(default_factory=dict)
    dtype: str = "f2"

    def __str__(self) -> str:
        first, second = ("x".join(map(str, shape)) for shape in self.shapes[:2])
        return f"{self.op}-{self.dtype}-{first}-{second}" + "-squares" * self.attrs.get("squares", False)


def window(stride: int = 1, pads: int = 1, **more: Any) -> dict[str, Any]:
    return {"strides": (stride, stride), "pads": (pads,) * 4, "dilations": (1, 1), "group": 1, **more}


def depthwise(**more: Any) -> dict[str, Any]:
    return {key: value for key, value in window(**more).items() if key != "group"}


SUMS: dict[str, Any] = {"wide": (2,), "inplace": {0: 2}}
CALLS = [
    Call("Conv2d", ((1, 9, 8, 8), (12, 3, 3, 8), (12,)), window(activation="relu"), wide=(2,)),
    Call("Conv2d", ((2, 8, 12, 4), (8, 3, 3, 4)), window(stride=2)),
    Call("Conv2dInputGradient", ((1, 7, 8, 8), (12, 3, 3, 8)), window(input_hw=(7, 8))),
    Call("Conv2dInputGradient", ((1, 4, 6, 8), (4, 3, 3, 8)), window(stride=2, input_hw=(8, 12))),
    Call("Conv2dWeightGradient", ((1, 9, 8, 8), (1, 9, 8, 12), (12, 3, 3, 8)), window(), **SUMS),
    Call("Conv2dWeightGradient", ((1, 8, 12, 4), (1, 4, 6, 8), (8, 3, 3, 4)), window(stride=2), **SUMS),
    Call("Conv2d", ((1, 9, 8, 3), (8, 3, 3, 3), (8,)), window(activation="relu"), wide=(2,)),
    Call("Conv2dWeightGradient", ((1, 9, 8, 3), (1, 9, 8, 8), (8, 3, 3, 3)), window(), **SUMS),
    Call("Conv2d", ((1, 7, 6, 8), (12, 3, 3, 4)), window(group=2)),
    Call("Conv2dInputGradient", ((1, 7, 6, 12), (2, 8, 3, 3, 6)), window(group=2, input_hw=(7, 6))),
    Call("Conv2d", ((1, 7, 6, 5), (8, 3, 3, 5)), window(), dtype="f4"),
    Call("Conv2dWeightGradient", ((1, 6, 6, 4), (1, 6, 6, 8), (8, 3, 3, 4)), window(), **SUMS, dtype="f4"),
    Call("Dense", ((11, 32), (36, 32), (36,)), {"activation": "relu"}, wide=(2,)),
    Call("Dense", ((2, 64), (20, 64))),
    Call("DenseInputGradient", ((11, 32), (32, 36))),
    Call("DenseInputGradient", ((2, 64), (64, 20))),
    Call("DenseWeightGradient", ((13, 24), (13, 16), (16, 24)), **SUMS),
    Call("DepthwiseConv2d", ((1, 9, 5, 8), (3, 3, 8), (8,)), depthwise(activation="relu"), wide=(2,)),
    Call("DepthwiseConv2dInputGradient", ((1, 9, 5, 8), (3, 3, 8)), depthwise(input_hw=(9, 5))),
    Call("DepthwiseConv2dWeightGradient", ((1, 9, 5, 8), (1, 9, 5, 8), (3, 3, 8)), depthwise(), **SUMS),
]
#: Where sums are squared one block of them is in L1, or all of them when rows come in parts.
SQUARED = [
    replace(call, attrs={**call.attrs, "squares": True})
    for call in CALLS
    if call.op in ("Conv2dWeightGradient", "DenseWeightGradient", "DepthwiseConv2dWeightGradient")
]


@pytest.fixture(scope="module", params=TARGETS)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    remote = Remote(find_target(request.param), tmp_path_factory.mktemp("tiles"))
    yield remote
    remote.close()


def run(remote: Remote, monkeypatch: pytest.MonkeyPatch, call: Call, tile: tuple[int, int], l1: int) -> int:
    """The transfers that a call starts, told a tile and given so much of L1; its bits are checked."""
    rng = np.random.default_rng(len(str(call)))
    inputs = [
        rng.normal(size=shape).astype("f4" if i in call.wide else call.dtype)
        for i, shape in enumerate(call.shapes)
    ]
    remote.l1 = l1
    monkeypatch.setattr(kernel_harness, "run_kernel", remote.run)
    kernel_harness.check_kernel(
        call.op, inputs, {**call.attrs, "tile": tile}, inplace=call.inplace, workers=(8,)
    )
    return remote.transfers


def tilings(call: Call) -> list[tiles.Tiling]:
    """Three tiles to force: the least, an odd one, the compiler's favourite."""
    inputs = [np.zeros(shape, "f4" if i in call.wide else call.dtype) for i, shape in enumerate(call.shapes)]
    node, tensors, outputs = kernel_harness._node(call.op, inputs, call.attrs, call.inplace)
    kernel = op_for(call.op).kernel(node, tensors, outputs)
    assert kernel is not None
    assert tiles.takes(kernel)
    known = tiles.tilings(kernel, 8)
    least = min(known, key=lambda t: t.l1)
    odd = tiles.tiling(kernel, 3, max(4, least.columns // 2), 8)
    return list({(t.rows, t.columns): t for t in (least, odd, known[0])}.values())


@pytest.mark.parametrize("call", [*CALLS, *SQUARED], ids=str)
def test_bytes_of_forced_tiles(remote: Remote, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler counts is enough for the kernel, and hardly too much; bits stay whatever the tile."""
    elsewhere = run(remote, monkeypatch, call, (0, 0), 64)
    for tiling in tilings(call):
        tile = (tiling.rows, tiling.columns)
        tiled = run(remote, monkeypatch, call, tile, 0)
        assert tiled != elsewhere, "this test cannot tell the two ways apart"
        assert run(remote, monkeypatch, call, tile, tiling.l1) == tiled, f"{tiling} is too little"
        assert run(remote, monkeypatch, call, tile, tiling.l1 - SLACK) != tiled, f"{tiling} is too much"

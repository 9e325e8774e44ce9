"""How a depthwise convolution with 3 by 3 taps goes through L1 in tiles: ``kernels/tiled/depthwise.h``.

A kernel call is short, and code that computes its geometry on every core would take as
long as a fifth of it; so the geometry is computed here, and the kernel is given numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from mcutrain.ops.base import align

TAPS = 9
#: Channels of a part of them at least, unless there are fewer: two for each of eight workers.
PART = 16
#: Bytes at the beginning of L1 that kernels share (MCT_SHARED).
SHARED = 16
#: Rows of results that are computed in vain (MCT_DEPTHWISE_VAIN), rows of x that are read so.
_VAIN_ROWS, _READ_IN_VAIN = 3, 2
#: Bytes of L1 and parts of the channels, when nobody has chosen a tile.
_USUAL_ROOM, _USUAL_PARTS = 48000, 4
_ITEM = 2


@dataclass(frozen=True)
class DepthwisePlan:
    """``struct mct_depthwise_walk`` from its ``rows`` on, in its order; all but its addresses.

    What is walked over are results, or dy of the weight gradient, called y here; x is what
    they meet, dy of the input gradient.
    """

    #: rows of y and channels of a tile
    rows: int
    part: int
    channels: int
    batch: int
    height: int
    width: int
    out_height: int
    out_width: int
    #: in x, from one result to the next, and from one tap to the next
    row_step: int
    column_step: int
    tap_row: int
    tap_column: int
    #: where the first tile begins in x
    top: int
    left: int
    #: columns of x in a tile; rows from one to the next, elements of these; elements of a row in memory
    wide: int
    high: int
    pitch: int
    line: int
    #: elements of a tile
    x_size: int
    y_size: int
    #: bytes of weights and biases, or of sums and a table of pixels
    own_bytes: int
    more_bytes: int
    #: whether results go down a column and on through the next ones; whether y is read
    down: bool
    y_in: bool
    #: see mct_x_depthwise
    bound: int
    #: of a tile with all rows: rows above x, those inside, all of them
    above: int
    inside: int
    tall: int
    #: for struct mct_x_down
    back: int
    forth: int
    result: int
    #: elements from where a tile begins to where the walk down does, in x and y, rows of x in twos; then the
    #: same for the last tile, which may have fewer rows
    first: tuple[int, int, int]
    last: tuple[int, int, int]

    def words(self) -> tuple[int, ...]:
        """The fields as int32."""
        values = (getattr(self, field.name) for field in fields(self))
        flat = (v for value in values for v in (value if isinstance(value, tuple) else (value,)))
        return tuple((int(v) + 2**31) % 2**32 - 2**31 for v in flat)

    @property
    def l1(self) -> int:
        """Bytes of L1 for two tiles at a time."""
        own = align(self.own_bytes) + align(self.more_bytes)
        return SHARED + own + 2 * _ITEM * (self.x_size + self.y_size)


#: Of a shape that tiled kernels do not take.
NO_PLAN: tuple[int, ...] = (0,) * 37


def takes(kernel: str, shape: Mapping[str, int]) -> bool:
    """Whether the tiled kernel takes a shape in FP16, told by the integer fields of its structure."""
    if shape["kernel_h"] != 3 or shape["kernel_w"] != 3 or shape["channels"] % 4:
        return False
    if kernel == "depthwise_forward":
        return shape["activation"] != 2
    if kernel == "depthwise_input_gradient":
        return shape["stride_h"] == 1 and shape["stride_w"] == 1
    return shape["dilation_w"] == 1 and (
        shape["batch"] == 1 or shape["out_height"] * shape["out_width"] % 2 == 0
    )


def granule(kernel: str, shape: Mapping[str, int]) -> int:
    """Rows of a tile are a multiple of this: pairs of pixels of the weight gradient must not be cut."""
    return 2 if kernel == "depthwise_weight_gradient" and shape["out_width"] % 2 else 1


def plan(kernel: str, shape: Mapping[str, int], bias: bool, rows: int, part: int) -> DepthwisePlan:
    """The plan for tiles of ``rows`` > 0 rows and ``part`` channels.

    More rows than there are mean all of them; so do channels of which there is no whole number of parts.
    """
    s = shape
    backward, gradient = kernel == "depthwise_input_gradient", kernel == "depthwise_weight_gradient"
    inside, outside = ("height", "width"), ("out_height", "out_width")
    (height, width), (out_height, out_width) = (
        (s[h], s[w]) for h, w in ((outside, inside) if backward else (inside, outside))
    )
    row_step, column_step = (1, 1) if backward else (s["stride_h"], s["stride_w"])
    sign = -1 if backward else 1
    tap_row, tap_column = sign * s["dilation_h"], sign * s["dilation_w"]
    top, left = (
        -sign * s[pad] + 2 * min(tap, 0) for pad, tap in (("pad_top", tap_row), ("pad_left", tap_column))
    )
    channels, multiple = s["channels"], granule(kernel, s)
    if not 0 < part < channels or part % 4 or channels % part:
        part = channels
    rows = -(-min(rows, out_height) // multiple) * multiple
    tall = (rows - 1) * row_step + 1 + 2 * s["dilation_h"]
    # Zeros below a column are those above the next one, too, when tiles have all rows.
    above, below = max(-top, 0), max(top + tall - height, 0)
    high = tall - (min(above, below, 2) if rows >= out_height else 0)
    wide = (out_width - 1) * column_step + 1 + 2 * s["dilation_w"]
    down = not gradient and row_step == 1 and column_step == 1 and s["dilation_h"] == 1
    pitch, row = high * part, sign * part
    back = -tap_column * pitch

    def walk(rows: int) -> tuple[int, int, int]:
        """Down, or up for the input gradient, as rows of taps go; two or three rows are walked in vain."""
        results = (out_width - 1) * high + rows
        vain = 2 + results % 2
        x = max(0, -2 * back) + (-(results + 1) * row if backward else 0) - (vain - 2) * row
        return x, (-(results - 1) * row if backward else 0) - vain * row, (results + vain) // 2

    lines = row_step == 1 and column_step == 1 and out_width > 1
    return DepthwisePlan(
        rows=rows,
        part=part,
        channels=channels,
        batch=s["batch"],
        height=height,
        width=width,
        out_height=out_height,
        out_width=out_width,
        row_step=row_step,
        column_step=column_step,
        tap_row=tap_row,
        tap_column=tap_column,
        top=top,
        left=left,
        wide=wide,
        high=high,
        pitch=pitch,
        line=width * channels,
        x_size=(high * wide + _READ_IN_VAIN) * part,
        y_size=(high * out_width + _VAIN_ROWS if down else rows * out_width) * part,
        own_bytes=TAPS * channels * (4 if gradient else _ITEM),
        more_bytes=(0 if lines else (out_height + 1) * out_width * 4) if gradient else channels * 4 * bias,
        down=down,
        y_in=gradient,
        bound=0 if s.get("activation") == 1 else 0x80008000,
        above=min(above, tall),
        inside=max(0, min(top + tall, height) - max(top, 0)),
        tall=tall,
        back=back * _ITEM,
        forth=(row - 2 * back) * _ITEM,
        result=row * _ITEM,
        first=walk(rows),
        last=walk(out_height - (out_height - 1) // rows * rows),
    )


def usual(kernel: str, shape: Mapping[str, int], bias: bool) -> DepthwisePlan:
    """The plan when nobody has chosen a tile: a few tiles, so that little is waited for at first and last."""
    height = shape["height" if kernel == "depthwise_input_gradient" else "out_height"]
    channels = shape["channels"]
    part = -(-channels // (_USUAL_PARTS * PART)) * PART
    first = plan(kernel, shape, bias, height, part)
    part, rows = first.part, height if first.part < channels else -(-height // 3)
    while True:
        made = plan(kernel, shape, bias, rows, part)
        if made.l1 <= _USUAL_ROOM or rows <= 1:
            return made
        if rows <= 4 and part % (2 * PART) == 0:
            part, rows = part // 2, height
        else:
            rows = -(-rows // 2)

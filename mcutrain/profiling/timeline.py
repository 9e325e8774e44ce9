"""A profile as a picture: what every core and the DMA did when, as one SVG document."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log10
from xml.sax.saxutils import escape

from mcutrain.profiling.model import Call, Profile, ProgramProfile
from mcutrain.words import counted

WIDTH, LEFT, RIGHT = 1600, 70, 20
CALLS, LANE, GAP = 18, 13, 2
#: Lines that the longest Program is broken into; the others have the same scale.
LINES = 6
_DIRECTIONS = {
    "forward": "#b6d7a8",
    "loss": "#ffe599",
    "weight gradient": "#f6b26b",
    "weight gradient, update": "#f6b26b",
    "input gradient": "#9fc5e8",
    "bias gradient": "#f9cb9c",
    "activation gradient": "#cfe2f3",
    "gradient": "#cfe2f3",
    "transposition": "#d5a6bd",
    "rounding": "#ead1dc",
    "update": "#b4a7d6",
    "check": "#d9d2e9",
    "clear": "#d9d9d9",
}
_OTHER = "#eeeeee"
#: What a core loses time to, from the bottom of its lane; the rest is above.
_LOSSES = (
    ("barrier", "barrier", "#e06666"),
    ("dma_wait", "waiting for DMA", "#3d85c6"),
    ("fpu_stalls", "waiting for the FPU", "#f1c232"),
    ("fetch_stalls", "instruction cache misses", "#8e7cc3"),
    ("load_stalls", "value just loaded", "#a2c4c9"),
    ("other_stalls", "other: memory beyond L1, jumps, division", "#999999"),
)
_COMPUTES, _TRANSFERS, _EMPTY = "#6aa84f", "#45818e", "#f3f3f3"


def timeline(profile: Profile) -> str:
    """The SVG document of a profile's last runs.

    A lane for each core spans its kernel calls from first to last
    instruction.  Counters tell how long a core waited within a call, not when,
    so a waiting is drawn as a part of the lane's height; the DMA's lane is
    filled by the part of a call in which transfers were under way.
    """
    drawn: list[str] = []
    y = 24
    mean = f"{profile.macs / profile.duration:.2f} MAC a {_one(profile)}" if profile.duration else ""
    title = f"{profile.build} on {profile.target}, {profile.precision}, {counted(profile.workers, 'worker')}"
    drawn.append(_text(LEFT, y, title, size=15, weight="bold"))
    y += 18
    summary = (
        f"{_number(profile.duration)} {profile.unit}, {_number(profile.macs)} MAC, {mean} ({profile.meaning})"
    )
    drawn.append(_text(LEFT, y, summary))
    y += 16
    heights = "A core's lane spans a kernel call from its first instruction to its last; "
    heights += "colours are parts of that time, not moments in it. "
    if _has_transfers(profile):
        heights += "The DMA's lane is filled by the part of a call in which transfers were under way."
    drawn.append(_text(LEFT, y, heights))
    y += 10
    drawn += _legend(profile, y)
    y += 44
    longest = max((_span(program) for program in profile.programs), default=0)
    for program in profile.programs:
        lines, y = _program(profile, program, max(ceil(longest / LINES), 1), y)
        drawn += lines
    style = "<style>text{font-family:sans-serif;font-size:11px;fill:#222}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">'
    background = f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>'
    return "\n".join((head, f"<title>{escape(title)}</title>", style, background, *drawn, "</svg>", ""))


def _span(program: ProgramProfile) -> int:
    return max((call.counts.end for call in program.runs[-1]), default=0)


def _one(profile: Profile) -> str:
    return profile.unit.removesuffix("s") if profile.unit == "cycles" else profile.unit


def _counted(profile: Profile, name: str) -> bool:
    """Whether the board counts this."""
    calls = [call for program in profile.programs for call in program.runs[-1]]
    return any(name in _losses(worker) for call in calls for worker in call.counts.workers)


def _has_transfers(profile: Profile) -> bool:
    return any(call.counts.transfers is not None for p in profile.programs for call in p.runs[-1])


def _legend(profile: Profile, y: int) -> list[str]:
    """Colours of the calls, then of the lanes."""
    used = dict.fromkeys(call.direction for program in profile.programs for call in program.runs[-1])
    lanes = [("instructions", _COMPUTES)]
    lanes += [(words, colour) for name, words, colour in _LOSSES if _counted(profile, name)]
    if _has_transfers(profile):
        lanes.append(("transfers under way", _TRANSFERS))
    drawn = []
    calls = [(direction, _DIRECTIONS.get(direction, _OTHER)) for direction in used]
    for name, colours in (("calls", calls), ("lanes", lanes)):
        drawn.append(_text(LEFT - 8, y + 10, name, anchor="end"))
        x = float(LEFT)
        for words, colour in colours:
            drawn.append(_rectangle(x, y + 1, 10, 10, colour))
            drawn.append(_text(x + 14, y + 10, words))
            x += 26 + 6.2 * len(words)
        y += 18
    return drawn


def _program(profile: Profile, program: ProgramProfile, line: int, y: int) -> tuple[list[str], int]:
    """A Program in lines of ``line`` units of time, and where the next begins."""
    words = f"{program.name}: {_number(program.duration)} {profile.unit}"
    if program.macs:
        words += f", {_number(program.macs)} MAC"
    drawn = [_text(LEFT, y + 12, words, size=13, weight="bold")]
    y += 20
    calls = program.runs[-1]
    span = _span(program)
    lanes = [f"core {i}" for i in range(profile.workers)] + ["DMA"] * _has_transfers(profile)
    for start in range(0, max(span, 1), line):
        end = min(start + line, span)
        tops = [y + CALLS + GAP + i * (LANE + GAP) for i in range(len(lanes))]
        for top, lane in zip(tops, lanes, strict=True):
            drawn.append(_text(LEFT - 6, top + 10, lane, anchor="end"))
            drawn.append(_rectangle(LEFT, top, _scale(line) * (end - start), LANE, _EMPTY))
        for call in calls:
            if call.counts.begin < end and call.counts.end > start:
                drawn += _call(profile, call, (start, end, _scale(line)), y, tops)
        y = (tops[-1] if tops else y + CALLS) + LANE + GAP
        drawn += _axis(start, end, line, y)
        y += 24
    return drawn, y + 8


def _scale(line: int) -> float:
    return (WIDTH - LEFT - RIGHT) / line


def _call(
    profile: Profile, call: Call, window: tuple[int, int, float], y: int, tops: list[int]
) -> Iterator[str]:
    """One kernel call as far as it is in the line of time ``window``: start, end, pixels a unit."""
    x, width = _place(call.counts.begin, call.counts.end, window)
    title = escape(_words(profile, call))
    colour = _DIRECTIONS.get(call.direction, _OTHER)
    yield (
        f'<g><title>{title}</title><rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{CALLS - 2}"'
        f' fill="{colour}" stroke="#888888" stroke-width="0.4"/>'
    )
    for label in (f"{call.layer} {call.direction}", call.layer):
        if width > 5.8 * len(label) + 4:
            yield _text(x + 3, y + 12, label)
            break
    yield "</g>"
    for worker, top in zip(call.counts.workers, tops, strict=False):
        yield from _lane(worker, window, top)
    if call.counts.transfers is not None and call.duration:
        height = LANE * min(call.counts.transfers / call.duration, 1.0)
        yield _rectangle(x, tops[-1] + LANE - height, width, height, _TRANSFERS)


def _lane(worker: dict[str, int], window: tuple[int, int, float], top: int) -> Iterator[str]:
    begin, end = worker.get("begin", 0), worker.get("end", 0)
    x, width = _place(begin, end, window)
    if width <= 0:
        return
    yield _rectangle(x, top, width, LANE, _COMPUTES)
    bottom, losses = float(top + LANE), _losses(worker)
    for name, _, colour in _LOSSES:
        height = min(LANE * losses.get(name, 0) / (end - begin), bottom - top)
        if height >= 0.1:
            bottom -= height
            yield _rectangle(x, bottom, width, height, colour)


def _losses(worker: dict[str, int]) -> dict[str, int]:
    """A worker's counts, and stalls that no counter names where instructions are counted."""
    known = {name: worker[name] for name, _, _ in _LOSSES if name in worker}
    if "instructions" in worker:
        rest = worker["end"] - worker["begin"] - worker["instructions"] - sum(known.values())
        known["other_stalls"] = max(rest, 0)
    return known


def _place(begin: int, end: int, window: tuple[int, int, float]) -> tuple[float, float]:
    """Left edge and width of an interval in a line of time; no width when it is not there."""
    start, stop, scale = window
    left, right = max(begin, start), min(end, stop)
    return LEFT + scale * (left - start), max(scale * (right - left), 0.0)


def _words(profile: Profile, call: Call) -> str:
    words = f"{call.layer}, {call.direction} ({call.operator}): {_number(call.duration)} {profile.unit}"
    if call.macs and call.duration:
        words += f", {_number(call.macs)} MAC, {call.macs / call.duration:.2f} a {_one(profile)}"
    return words


def _axis(start: int, end: int, line: int, y: int) -> Iterator[str]:
    """Marks of time below a line, at a round distance."""
    step = 10 ** int(log10(line)) if line >= 10 else 1
    step = next((s for s in (step // 10 or 1, step // 5 or 1, step // 2 or 1, step) if line / s <= 12), step)
    for at in range(-(-start // step) * step, end + 1, step):
        x = LEFT + _scale(line) * (at - start)
        yield f'<path d="M{x:.2f} {y}v4" stroke="#666666"/>'
        yield _text(x, y + 14, _number(at), anchor="middle", size=9)


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, *, size: int = 11, weight: str = "", anchor: str = "start") -> str:
    more = f' style="font-size:{size}px"' if size != 11 else ""
    more += f' font-weight="{weight}"' if weight else ""
    more += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.2f}" y="{y:.2f}"{more}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{round(value):,}".replace(",", " ")

"""Plots as inline SVG: no script, no network, colours from the page (light or dark).

Every function gives an ``<svg>`` as text.  Series are named; the page colours them by number
through the classes ``s0``, ``s1`` …; None stands for a value that could not be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

#: Values of a series by name.
Series = Mapping[str, Sequence[float | None]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 12.0, 40.0
#: Colours that the page defines.
COLOURS = 8


def bars(
    labels: Sequence[str],
    series: Series,
    *,
    width: int = 720,
    height: int = 240,
    title: str = "",
    x_label: str = "",
) -> str:
    """Grouped bars of shares, 0 to 1: one group a label, one bar a series."""
    frame = _Frame(width, height, title)
    frame.y_axis([0, 0.25, 0.5, 0.75, 1], 1.0, percent=True)
    slot = frame.slot(len(labels))
    bar = slot * 0.8 / max(len(series), 1)
    for i, label in enumerate(labels):
        start = _LEFT + i * slot + 0.1 * slot
        for k, (name, values) in enumerate(series.items()):
            value = values[i]
            if value is None:
                continue
            top = frame.y(value, 1.0)
            frame.add(
                f'<rect class="s{k % COLOURS}" x="{start + k * bar:.1f}" y="{top:.1f}" '
                f'width="{max(bar - 1, 0.5):.1f}" height="{max(frame.base - top, 0.8):.1f}" rx="1">'
                f"<title>{escape(name)}, {escape(label)}: {100 * value:.1f} %</title></rect>"
            )
    return frame.svg([(_LEFT + (i + 0.5) * slot, label) for i, label in enumerate(labels)], x_label)


def lines(
    labels: Sequence[str],
    series: Series,
    *,
    width: int = 720,
    height: int = 240,
    title: str = "",
    x_label: str = "",
    low: float = 0.0,
    percent: bool = False,
) -> str:
    """Lines over labelled positions, values ``low`` to 1."""
    frame = _Frame(width, height, title)
    span = 1.0 - low
    ticks = [low + span * i / 4 for i in range(5)]
    frame.y_axis([t - low for t in ticks], span, percent=percent, names=ticks)
    slot = frame.slot(len(labels))
    for k, (name, values) in enumerate(series.items()):
        points = [
            (_LEFT + (i + 0.5) * slot, frame.y(min(max(v, low), 1.0) - low, span), v)
            for i, v in enumerate(values)
            if v is not None
        ]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        frame.add(f'<polyline class="l{k % COLOURS}" points="{path}"/>')
        for x, y, v in points:
            shown = f"{100 * v:.1f} %" if percent else f"{v:.3f}"
            frame.add(_dot(k, x, y, 3, f"{name}: {shown}"))
    return frame.svg([(_LEFT + (i + 0.5) * slot, label) for i, label in enumerate(labels)], x_label)


def histogram(
    edges: Sequence[str],
    series: Series,
    *,
    width: int = 350,
    height: int = 190,
    title: str = "",
    x_label: str = "",
) -> str:
    """Outlines of histograms in shares; ``edges`` are the labels under the bins' borders, evenly spread."""
    frame = _Frame(width, height, title)
    most = max((v for values in series.values() for v in values if v is not None), default=1.0) or 1.0
    frame.y_axis([0, most / 2, most], most, percent=True)
    for k, values in enumerate(series.values()):
        bin_width = frame.slot(len(values))
        points = [f"{_LEFT:.1f},{frame.base:.1f}"]
        for i, value in enumerate(values):
            y = frame.y(value or 0.0, most)
            points += [f"{_LEFT + i * bin_width:.1f},{y:.1f}", f"{_LEFT + (i + 1) * bin_width:.1f},{y:.1f}"]
        points.append(f"{_LEFT + frame.inner_width:.1f},{frame.base:.1f}")
        frame.add(f'<polygon class="a{k % COLOURS}" points="{" ".join(points)}"/>')
    gap = frame.slot(len(edges) - 1)
    return frame.svg([(_LEFT + i * gap, edge) for i, edge in enumerate(edges)], x_label)


def limits(
    rows: Sequence[str], series: Series, *, width: int = 720, title: str = "", most: float = 4.0
) -> str:
    """Dots on a line for each row: how far a value is, 1 being the limit; more than ``most`` sits there."""
    left, line = 190.0, 26.0
    height = int(_TOP + line * len(rows) + 30)
    inner = width - left - 20
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f'<rect class="ok" x="{left:.1f}" y="{_TOP:.1f}" width="{inner / most:.1f}" '
        f'height="{line * len(rows):.1f}"/>',
    ]
    for i, row in enumerate(rows):
        y = _TOP + line * (i + 0.5)
        parts.append(_text("tick", left - 8, y + 4, row, "end"))
        parts.append(_grid(left, width - 20, y))
        for k, (name, values) in enumerate(series.items()):
            value = values[i]
            if value is None:
                continue
            x = left + inner * min(value, most) / most
            # Dots of different models at one place stay apart.
            dy = (k - (len(series) - 1) / 2) * min(4.0, 16.0 / max(len(series), 1))
            parts.append(_dot(k, x, y + dy, 4.5, f"{name}: {value:.2f} × the limit"))
    base = _TOP + line * len(rows)
    for tick in range(int(most) + 1):
        x = left + inner * tick / most
        word = f"≥ {tick}" if tick == int(most) else str(tick)
        parts.append(_text("tick", x, base + 16, word))
    return "".join([*parts, "</svg>"])


class _Frame:
    """Axes and what is drawn between them."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self.inner_width = width - _LEFT - _RIGHT
        self.base = height - _BOTTOM
        self._parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']

    def add(self, part: str) -> None:
        self._parts.append(part)

    def slot(self, count: int) -> float:
        """The width of one of ``count`` places side by side."""
        return self.inner_width / max(count, 1)

    def y(self, value: float, most: float) -> float:
        return self.base - (self.base - _TOP) * value / most

    def y_axis(
        self,
        ticks: Sequence[float],
        most: float,
        *,
        percent: bool,
        names: Sequence[float] | None = None,
    ) -> None:
        for tick, name in zip(ticks, names or ticks, strict=True):
            y = self.y(tick, most)
            shown = f"{100 * name:.0f} %" if percent else f"{name:.2f}"
            self.add(_grid(_LEFT, self.width - _RIGHT, y))
            self.add(_text("tick", _LEFT - 6, y + 4, shown, "end"))

    def svg(self, ticks: Sequence[tuple[float, str]], x_label: str) -> str:
        """The whole, with labels under places of the horizontal axis, and its title."""
        for x, label in ticks:
            self.add(_text("tick", x, self.base + 15, label))
        if x_label:
            self.add(_text("axis", _LEFT + self.inner_width / 2, self.base + 32, x_label))
        return "".join([*self._parts, "</svg>"])


def _text(kind: str, x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _grid(left: float, right: float, y: float) -> str:
    return f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _dot(number: int, x: float, y: float, radius: float, words: str) -> str:
    """A value of series ``number``, with what is said when it is pointed at."""
    return (
        f'<circle class="s{number % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
        f"<title>{escape(words)}</title></circle>"
    )

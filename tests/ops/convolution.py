"""Convolution in float64 straight from its definition, and the shapes that the tests sweep."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A convolution; the defaults are the plain 3x3 one."""

    batch: int = 1
    height: int = 6
    width: int = 5
    channels: int = 4  # per group
    outputs: int = 4  # per group
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1

    @property
    def attrs(self) -> dict[str, Any]:
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations, "group": self.group}

    @property
    def output(self) -> tuple[int, int]:
        size = []
        for axis, extent in enumerate((self.height, self.width)):
            padded = extent + self.pads[axis] + self.pads[axis + 2]
            size.append(
                (padded - self.dilations[axis] * (self.kernel[axis] - 1) - 1) // self.strides[axis] + 1
            )
        return size[0], size[1]

    def __str__(self) -> str:
        changed = [f"{k}={v}" for k, v in vars(self).items() if v != getattr(Case(), k)]
        return ",".join(changed).replace(" ", "") or "plain"


def forward(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y[n,i,j,o] = sum of x[n, i*s+kh*d-p, j*s+kw*d-p, c] * w[o,kh,kw,c] in float64, tap by tap."""
    (top, left, _, _), (out_h, out_w) = case.pads, case.output
    y = np.zeros((len(x), out_h, out_w, len(w)))
    for i, j, kh, kw in itertools.product(
        range(out_h), range(out_w), range(case.kernel[0]), range(case.kernel[1])
    ):
        row = i * case.strides[0] + kh * case.dilations[0] - top
        column = j * case.strides[1] + kw * case.dilations[1] - left
        if 0 <= row < case.height and 0 <= column < case.width:
            for group in range(case.group):
                inputs, outputs = _channels(case, group)
                y[:, i, j, outputs] += (
                    x[:, row, column, inputs].astype("f8") @ w[outputs, kh, kw].astype("f8").T
                )
    return y


def backward(case: Case, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(dx, dw) of sum(dy * forward), in float64, by moving every tap's product back where it came from."""
    (top, left, _, _), (out_h, out_w) = case.pads, case.output
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j, kh, kw in itertools.product(
        range(out_h), range(out_w), range(case.kernel[0]), range(case.kernel[1])
    ):
        row = i * case.strides[0] + kh * case.dilations[0] - top
        column = j * case.strides[1] + kw * case.dilations[1] - left
        if 0 <= row < case.height and 0 <= column < case.width:
            for group in range(case.group):
                inputs, outputs = _channels(case, group)
                part, met = dy[:, i, j, outputs].astype("f8"), x[:, row, column, inputs].astype("f8")
                dx[:, row, column, inputs] += part @ w[outputs, kh, kw].astype("f8")
                dw[outputs, kh, kw] += part.T @ met
    return dx, dw


def _channels(case: Case, group: int) -> tuple[slice, slice]:
    """A group's input and output channels."""
    return (
        slice(group * case.channels, (group + 1) * case.channels),
        slice(group * case.outputs, (group + 1) * case.outputs),
    )


def _valid(case: Case) -> bool:
    return min(case.output) >= 1


def shape_grid() -> list[Case]:
    """Odd sizes, every remainder of channels and pixels, strides, pads, groups, dilations."""
    plain = Case()
    cases = [replace(plain, channels=c, outputs=o) for c, o in itertools.product(range(1, 10), range(1, 10))]
    cases += [
        replace(plain, width=w, height=h, channels=3) for w, h in itertools.product(range(1, 10), (1, 4))
    ]
    for stride_h, stride_w, pad, size, kernel in itertools.product(
        (1, 2, 3), (1, 2, 3), range(4), (7, 8), ((3, 3), (1, 1), (2, 4))
    ):
        pads = (pad, pad, pad, pad)
        cases.append(
            replace(plain, strides=(stride_h, stride_w), pads=pads, height=size, width=size, kernel=kernel)
        )
    for pads in ((0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 2, 3), (3, 0, 1, 2), (0, 3, 0, 0)):
        for strides in ((1, 1), (2, 2), (3, 2)):
            for outputs in (4, 5):
                cases.append(replace(plain, pads=pads, strides=strides, outputs=outputs, height=9, width=8))
    for group, channels, outputs in itertools.product((2, 3), (1, 2, 5), (1, 4, 6)):
        for strides in ((1, 1), (2, 2)):
            cases.append(replace(plain, group=group, channels=channels, outputs=outputs, strides=strides))
    for dilations, strides in itertools.product(((2, 2), (1, 3), (3, 2)), ((1, 1), (2, 2), (2, 3), (3, 1))):
        cases.append(replace(plain, dilations=dilations, strides=strides, height=11, width=10, channels=3))
    cases += [
        replace(plain, batch=b, height=3, width=3, strides=(s, s))
        for b, s in itertools.product((2, 3, 5), (1, 2))
    ]
    cases += [
        replace(plain, kernel=(1, 1), pads=(0, 0, 0, 0), channels=c, outputs=o, batch=b)
        for c, o, b in itertools.product((1, 4, 7), (1, 5, 8), (1, 2))
    ]
    cases += [replace(plain, kernel=(1, 1), pads=(0, 0, 0, 0), group=2, channels=3, outputs=5)]
    cases += [replace(plain, kernel=(6, 5), pads=(0, 0, 0, 0), channels=7, outputs=21)]
    cases += [replace(plain, height=13, width=11, channels=8, outputs=18)]
    return [case for case in dict.fromkeys(cases) if _valid(case)]


def cancelling(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """f16 numbers of very different sizes whose sum along the last axis is exactly zero.

    Times a constant operand, the result of a dot product is nothing but its
    rounding errors.  It shows any change in the order or pairing of a
    reduction, which the last rounding to f16 would hide otherwise.
    """
    size = (*shape[:-1], shape[-1] // 2)
    half = rng.integers(1024, 2048, size) * 2.0 ** rng.integers(-9, 5, size)
    rest = np.zeros((*shape[:-1], shape[-1] % 2))
    return rng.permuted(np.concatenate([half, -half, rest], axis=-1), axis=-1).astype("f2")

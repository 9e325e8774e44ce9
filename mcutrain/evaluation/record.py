"""What a judge found, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from mcutrain.evaluation import metrics
from mcutrain.evaluation.compare import cka_by_layer
from mcutrain.evaluation.measure import Measured
from mcutrain.executor import Array

if TYPE_CHECKING:
    from mcutrain.evaluation.judge import Judge
    from mcutrain.evaluation.judged import Judged

#: Bins of the loss histograms.
_BINS = 24


def as_json(judge: Judge, judged: Sequence[Judged]) -> dict[str, Any]:
    """Everything as plain JSON values; what could not be measured is null."""
    d = judge.data
    value = {
        "model": {
            "name": judge.source.manifest.name,
            "build_id": judge.source.manifest.build_id,
            "target": judge.source.manifest.options.target,
            "precision": judge.source.manifest.options.precision,
            "parameters": int(sum(w.size for w in judge.original.weights.values())),
            "loss": judge.source.manifest.options.loss,
        },
        "data": {"train": len(d.y_train), "test": len(d.y_test), "classes": d.classes},
        "requests": [
            {"kind": r.kind, "title": r.title, "told": len(r.rows), "lacking": len(r.lacking)}
            for r in judge.requests
        ],
        "request": {
            "title": judge.request.title,
            "forget": len(judge.sets.forget),
            "retain": len(judge.sets.retain),
            "classes": list(judge.request.classes),
        },
        "schedule": judge.schedule.as_json(),
        "seed": judge.seed,
        "golds": len(judge.golds),
        "shadows": judge.shadows,
        "lira_power": judge.lira_power,
        "original": {
            **_model(judge, judge.original, judge.original_figures),
            "gates": [asdict(g) for g in judge.original_gates],
        },
        "retrained": [
            _model(judge, g, f, [o for o in judge.golds if o is not g])
            for g, f in zip(judge.golds, judge.gold_figures, strict=True)
        ],
        "reference": {n: {"mean": m, "spread": s} for n, (m, s) in judge.summary.items()},
        "judged": [_judged(judge, j) for j in judged],
    }
    return clean(value)  # type: ignore[no-any-return]


def _judged(judge: Judge, j: Judged) -> dict[str, Any]:
    return {
        **_model(judge, j.measured, j.figures),
        "claim": j.claim,
        "verdict": asdict(j.verdict),
        "gates": [asdict(g) for g in j.gates],
        "cost": {**asdict(j.cost), "cheaper": j.cost.cheaper},
        "outcomes": list(j.outcomes),
    }


def _model(
    judge: Judge, m: Measured, values: Mapping[str, float], golds: Sequence[Measured] | None = None
) -> dict[str, Any]:
    d, s = judge.data, judge.sets
    golds = judge.golds if golds is None else golds
    found: dict[str, Any] = {
        "name": m.name,
        "weights_sha256": m.digest,
        "figures": dict(values),
        "cka": {side: cka_by_layer(m, golds, i) for i, side in enumerate(("forget", "retain"))},
        "weight_distance": {
            name: float(np.mean([metrics.weight_distance(m.weights, g.weights)[name] for g in golds]))
            for name in m.weights
        },
    }
    if not d.regression:
        found["by_class"] = list(metrics.accuracy_by_class(m.test, d.y_test, d.classes))
        found["losses"] = {
            "forget": _histogram(metrics.losses(m.train[s.forget], d.y_train[s.forget])),
            "retain": _histogram(metrics.losses(m.train[s.retain], d.y_train[s.retain])),
            "test": _histogram(metrics.losses(m.test[s.test_kept], d.y_test[s.test_kept])),
        }
        found["relearn"] = {
            0: metrics.accuracy(m.train[s.asked], d.y_train[s.asked]),
            **{steps: metrics.accuracy(z, d.y_train[s.asked]) for steps, z in m.relearned.items()},
        }
    return found


def _histogram(losses: Array) -> list[float]:
    """Shares of samples in equal bins of log10 loss, 1e-6 to 1e2; the ends take what is beyond."""
    exponent = np.clip(np.log10(np.maximum(losses, 1e-6)), -6, 2 - 1e-9)
    counts, _ = np.histogram(exponent, bins=_BINS, range=(-6, 2))
    return [float(v) for v in counts / max(len(losses), 1)]


def clean(value: Any) -> Any:
    """``value`` with NaN and infinities as None, NumPy numbers as Python's, and keys as text."""
    if isinstance(value, Mapping):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if isfinite(value) else None
    return value

"""Unlearning: recipes that make a trained network forget samples, on whatever runs its Programs.

>>> method, variant = parse_method("gradient:npo")
>>> outcome = method.run(Task(learner, forget=(x_f, y_f), retain=(x_r, y_r), variant=variant))
"""

from __future__ import annotations

from mcutrain.unlearning.base import (
    HONESTY,
    Carrier,
    Cost,
    Labelled,
    Method,
    Outcome,
    Progress,
    Streamed,
    Task,
    Variant,
    find_method,
    methods,
    parse_method,
    register,
)
from mcutrain.unlearning.options import Option

__all__ = [
    "HONESTY",
    "Carrier",
    "Cost",
    "Labelled",
    "Method",
    "Option",
    "Outcome",
    "Progress",
    "Streamed",
    "Task",
    "Variant",
    "find_method",
    "methods",
    "parse_method",
    "register",
]

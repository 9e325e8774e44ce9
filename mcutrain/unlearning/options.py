"""What a method can be told: declared options with types, ranges, defaults and help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mcutrain.errors import OptionError

#: What an option's value may be.
Value = bool | int | float | str | None
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Option:
    """One option of a method.

    ``kind`` is ``bool``, ``int``, ``float`` or ``str``; numbers lie in
    ``[low, high]``, strings among ``choices``.  Where ``default`` is None the
    method decides, as ``help`` says.  ``variants`` lists who takes it, all
    when empty.
    """

    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    default: Value
    help: str
    low: float = float("-inf")
    high: float = float("inf")
    choices: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The allowed values, for people."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return ", ".join(self.choices)
        bounds = [f"{b:g}" for b in (self.low, self.high) if isfinite(b)]
        noun = "an integer" if self.kind is int else "a number"
        if len(bounds) == 2:
            return f"{noun} from {bounds[0]} to {bounds[1]}"
        return f"{noun} of at least {bounds[0]}" if bounds else noun

    def check(self, value: Any) -> Value:
        """``value``, or its text, in this option's type; raises OptionError."""
        converted = _convert(self.kind, value)
        if isinstance(converted, str):
            good = converted in self.choices
        elif converted is None or isinstance(converted, bool):
            good = converted is not None
        else:
            good = self.low <= converted <= self.high
        if not good:
            raise OptionError(f"option {self.name} is '{value}'", f"give {self.range}: {self.help}")
        return converted


def _convert(kind: type, value: Any) -> bool | int | float | str | None:
    """``value`` as ``kind``, or None where that cannot be."""
    if kind is bool:
        return value if isinstance(value, bool) else _WORDS.get(str(value).lower())
    if isinstance(value, bool):
        return None
    if kind is str:
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if kind is float:
        return number if isfinite(number) else None
    return int(number) if number.is_integer() else None


def check_options(
    owner: str, variant: str, known: Sequence[Option], given: Mapping[str, Any]
) -> dict[str, Value]:
    """All options of a method's variant: those ``given``, checked, and the defaults of the others.

    Raises OptionError for an unknown name, one of another variant, or a wrong value.
    """
    taken = {o.name: o for o in known if not o.variants or variant in o.variants}
    everywhere = {o.name: o for o in known}
    for name in given:
        if name in taken:
            continue
        if name in everywhere:
            reason = (
                f"{owner}:{variant} takes no option '{name}'; {' and '.join(everywhere[name].variants)} do"
            )
        else:
            reason = f"{owner}:{variant} takes no option '{name}'"
        raise OptionError(reason, f"its options are {', '.join(taken)}")
    return {name: o.check(given[name]) if name in given else o.default for name, o in taken.items()}

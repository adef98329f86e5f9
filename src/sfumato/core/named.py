"""The text form of what is chosen by name: `name:key=value,key=value`, `patch_permute:patches=8,seed=3`.

`str(thing)` writes every option, so that a text keeps its meaning when a default changes; `parse` reads it
back to an equal value. Views and filters share it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from sfumato.errors import UsageError

T = TypeVar("T", bound="Named")


class Named:
    """A frozen dataclass of whole and decimal numbers that has a name and a text form."""

    name: str
    description: str  # one line for help

    def __str__(self) -> str:
        options = ",".join(f"{key}={_written(getattr(self, key))}" for key in _options(type(self)))
        return f"{self.name}:{options}" if options else self.name


def parse(text: str, known: Mapping[str, type[T]], kind: str) -> T:
    """The value that a text names; `kind` is what an error calls it ("view").

    Raises UsageError for an unknown name (listing the names), an unknown, repeated or missing option, and a
    value that is no number.
    """
    name, colon, rest = (piece.strip() for piece in text.partition(":"))
    if name not in known:
        raise UsageError(f"there is no {kind} '{name}'; the {kind}s are: {', '.join(known)}")
    options = _options(known[name])
    given: dict[str, Any] = {}
    for part in rest.split(",") if colon else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in options:
            has = f"it takes {', '.join(options)}, as in {key or 'key'}=value" if options else "it takes none"
            raise UsageError(f"the {kind} {name} has no option '{part.strip()}': {has}")
        if key in given:
            raise UsageError(f"the {kind} {name} is given {key} twice")
        given[key] = _read(value, options[key], f"{key} of the {kind} {name}")
    missing = [
        key for key, field in options.items() if field.default is dataclasses.MISSING and key not in given
    ]
    if missing:
        raise UsageError(f"the {kind} {name} needs {' and '.join(missing)}, as in {name}:{missing[0]}=2")
    return known[name](**given)


def _options(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls)}


def _written(value: float) -> str:
    return repr(value).removesuffix(".0")


def _read(value: str, field: dataclasses.Field[Any], what: str) -> float:
    read, article = (int, "a whole number") if field.type == "int" else (float, "a number")
    try:
        return read(value)
    except ValueError:
        raise UsageError(f"{what} must be {article}, not '{value}'") from None


def whole(value: object, what: str, minimum: int) -> int:
    """The value, a whole number from the minimum up; anything else raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UsageError(f"{what} must be a whole number from {minimum} up, not {value!r}")
    return value


def finite(value: object, what: str) -> float:
    """The value as a float, finite; anything else raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{what} must be a finite number, not {value!r}")
    return float(value)

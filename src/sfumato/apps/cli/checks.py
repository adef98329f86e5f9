"""What an option's value must be, said before anything is loaded; each returns the value it was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import typer


def one_of(names: Sequence[str]) -> Callable[[str | None], str | None]:
    """The value is one of these names."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}")
        return value

    return check


def named(names: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """Each value begins with one of these names; options of its own may follow a colon."""

    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if value.partition(":")[0].strip() not in names:
                raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}")
        return values

    return check


def finite(value: float | None) -> float | None:
    """No NaN, no infinity."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def all_finite(values: list[float] | None) -> list[float] | None:
    """No NaN, no infinity among them."""
    for value in values or ():
        finite(value)
    return values


def share(value: float | None) -> float | None:
    """Above 0, at most 1, if it is given."""
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"{value} is not above 0 and at most 1")
    return value


def shares(values: list[float] | None) -> list[float] | None:
    """Each above 0, at most 1."""
    for value in values or ():
        share(value)
    return values

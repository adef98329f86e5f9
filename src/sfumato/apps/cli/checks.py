"""Checks of option values, before anything is loaded. Each returns the value that it checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import typer

from sfumato.apps.cli import names


def choice(values: Sequence[str]) -> dict[str, Any]:
    """The settings of an option that takes one of these values: its check and its completion."""
    return {"callback": one_of(values), "autocompletion": names.completing(values)}


def one_of(values: Sequence[str]) -> Callable[[str | None], str | None]:
    """The value is one of these."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in values:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(values)}")
        return value

    return check


def named(known: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """Each value begins with one of these names; its options may follow a colon."""

    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if value.partition(":")[0].strip() not in known:
                raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
        return values

    return check


def finite(value: float | None) -> float | None:
    """The value is neither NaN nor infinite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def all_finite(values: list[float] | None) -> list[float] | None:
    """No value is NaN or infinite."""
    for value in values or ():
        finite(value)
    return values


def share(value: float | None) -> float | None:
    """The value is above 0 and at most 1."""
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"{value} is not above 0 and at most 1")
    return value


def shares(values: list[float] | None) -> list[float] | None:
    """Each value is above 0 and at most 1."""
    for value in values or ():
        share(value)
    return values

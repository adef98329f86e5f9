"""Checks of option values, before anything is loaded. Each returns the value that it checked."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer

from sfumato.apps.cli import names
from sfumato.errors import did_you_mean

Value = TypeVar("Value")


def choice(values: Sequence[str]) -> dict[str, Any]:
    """The settings of an option that takes one of these values: its check and its completion."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in values:
            raise typer.BadParameter(
                f"{value!r} is not one of {', '.join(values)}{did_you_mean(value, values)}"
            )
        return value

    return {"callback": check, "autocompletion": names.completing(values)}


def named(known: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """Each value begins with one of these names; its options may follow a colon."""

    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if (name := value.partition(":")[0].strip()) not in known:
                raise typer.BadParameter(
                    f"{value!r} is not one of {', '.join(known)}{did_you_mean(name, known)}"
                )
        return values

    return check


def finite(given: Value) -> Value:
    """A number, or each of several, is neither NaN nor infinite."""
    return _each(given, math.isfinite, "not a finite number")


def share(given: Value) -> Value:
    """A number, or each of several, is above 0 and at most 1."""
    return _each(given, lambda value: 0 < value <= 1, "not above 0 and at most 1")


def _each(given: Value, fits: Callable[[float], bool], otherwise: str) -> Value:
    values: list[Any] = given if isinstance(given, list) else [given]
    for value in values:
        if value is not None and not fits(value):
            raise typer.BadParameter(f"{value} is {otherwise}")
    return given

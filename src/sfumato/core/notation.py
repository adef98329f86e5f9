"""Expressions as JSON-able values and back: what a recipe holds.

    {"prompt": "a rocket"}  {"label": 7}  {"unconditional": true}  {"known": SHA256}
    {"seen": "flip", "of": E}  {"filter": "low_pass:sigma=2", "of": E}
    {"mask": SHA256, "outside": false, "of": E}  {"sum": [E, ...], "weights": [w, ...]}
    {"crops": 0.5, "of": E}  {"clipped": 1.0, "quantile": 0.95, "of": E}
    {"guided": 7 | {"curve": [[t, s], ...]} | {"cfg++": 0.6}, "of": E, "negative": {"prompt": ...},
     "guide": NAME, "between": [lo, hi], "projected": {"parallel": 0, "radius": 10, "momentum": -0.5}}
    {"custom": NAME, "over": [E, ...]}

A leaf of another network than the run's carries "network": NAME. "custom" is a Python object of the user's.
Each node writes and reads itself (`Expression.write`, `read`); writing.py says what stands outside.
"""

from typing import cast

from sfumato.core import crops  # noqa: F401  a node that recipes may hold
from sfumato.core.expression import Expression
from sfumato.core.writing import Inputs, Json, Reader, Writer


def to_json(e: Expression, writer: Writer | None = None) -> Json:
    """The JSON-able form of an expression; the writer collects its inputs."""
    return e.write(writer or Writer())


def from_json(data: Json, inputs: Inputs) -> Expression:
    """The expression written as `data`; anything unknown, too deep or too large raises UsageError."""
    return cast(Expression, Reader(inputs, Expression.known, Expression).read(data))

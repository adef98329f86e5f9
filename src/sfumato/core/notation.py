"""Expressions as JSON-able values and back: what a recipe holds.

    {"prompt": "a rocket"}  {"label": 7}  {"unconditional": true}  {"known": SHA256}
    {"seen": "flip", "of": E}  {"filter": "low_pass:sigma=2", "of": E}
    {"mask": SHA256, "outside": false, "of": E}  {"sum": [E, ...], "weights": [w, ...]}
    {"crops": 0.5, "of": E}  {"clipped": 1.0, "quantile": 0.95, "of": E}
    {"guided": 7 | {"curve": [[t, s], ...]} | {"cfg++": 0.6}, "of": E, "negative": {"prompt": ...},
     "guide": NAME, "between": [lo, hi], "projected": {"parallel": 0, "radius": 10, "momentum": -0.5}}

A leaf that asks another network than the run's carries "network": NAME. What JSON cannot hold stands outside,
in the run's inputs: pictures and masks under their content hash, views and filters that a user brings under
their names.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sfumato.core.content import Content
from sfumato.core.crops import Crops
from sfumato.core.expression import Ask, Expression, Filtered, Known, Seen, Sum
from sfumato.core.filters import Filter, Mask, make_filter
from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.core.guidance import CFGPlusPlus, Clipped, Curve, Guided, Projected, Scale
from sfumato.core.views import View, make_view
from sfumato.errors import UsageError

MAX_DEPTH, MAX_NODES, MAX_GUIDED = 32, 256, 4  # a guided expression within another doubles the work

Json = dict[str, Any]
# sha256 -> picture (1, C, H, W) or mask (1, 1, H, W); name -> a view or filter that a user brings
Inputs = Mapping[str, Tensor | View | Filter]


# ------------------------------------------------------------------------------------------------ writing


def to_json(e: Expression) -> Json:
    """The JSON-able form of an expression; a scale that is a free function cannot be written."""
    match e:
        case Ask(condition, network):
            return _condition(condition) | ({"network": network} if network else {})
        case Known(picture):
            return {"known": picture.sha256}
        case Seen(child, view):
            return {"seen": str(view), "of": to_json(child)}
        case Filtered(child, Mask() as mask):
            return {"mask": mask.sha256, "outside": mask.outside, "of": to_json(child)}
        case Filtered(child, band):
            return {"filter": str(band), "of": to_json(child)}
        case Sum(terms, weights):
            return {"sum": [to_json(term) for term in terms], "weights": list(weights)}
        case Crops(child, overlap):
            return {"crops": overlap, "of": to_json(child)}
        case Clipped(child, limit, quantile):
            return {"clipped": limit, "quantile": quantile, "of": to_json(child)}
        case Guided():
            return _guided(e)
    raise UsageError(f"{e.name} cannot be written into a recipe")


def _condition(condition: Condition) -> Json:
    match condition:
        case Prompt(text):
            return {"prompt": text}
        case Label(index):
            return {"label": index}
        case Unconditional():
            return {"unconditional": True}


def _guided(e: Guided) -> Json:
    match e.scale:
        case Curve(points):
            scale: Any = {"curve": [list(point) for point in points]}
        case CFGPlusPlus(weight):
            scale = {"cfg++": weight}
        case float():
            scale = e.scale
        case _:
            raise UsageError(f"{e.name}: a scale that is a function cannot be written; use a Curve")
    out: Json = {"guided": scale, "of": to_json(e.child)}
    if e.negative is not None:
        out["negative"] = _condition(e.negative)
    if e.guide is not None:
        out["guide"] = e.guide
    if e.between != (0.0, 1.0):
        out["between"] = list(e.between)
    if e.projection is not None:
        p = e.projection
        out["projected"] = {"parallel": p.parallel, "radius": p.radius, "momentum": p.momentum}
    return out


# ------------------------------------------------------------------------------------------------ reading


def from_json(data: Json, inputs: Inputs) -> Expression:
    """The expression written as `data`; anything unknown, too deep or too large raises UsageError."""
    return _Reader(inputs).read(data, 0)


def input_picture(inputs: Inputs, sha256: Any) -> Tensor:
    """An input picture by its hash, which is checked."""
    picture = inputs.get(sha256)
    if not isinstance(picture, Tensor):
        raise UsageError(f"the input picture {str(sha256)[:12]} is not at hand: give its file")
    if Content(picture).sha256 != sha256:
        raise UsageError(f"the input picture {str(sha256)[:12]} is another one than the recipe's")
    return picture


class _Reader:
    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.nodes = 0

    def read(self, data: Any, depth: int) -> Expression:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise UsageError(f"an expression holds at most {MAX_NODES} nodes, {MAX_DEPTH} deep")
        if not isinstance(data, dict):
            raise UsageError(
                f"an expression is an object such as {{'prompt': 'a rocket'}}, not {reprlib.repr(data)}"
            )
        kind = next((key for key in data if key in READERS), None)
        if kind is None:
            raise UsageError(f"no kind of expression in {sorted(data)}; there are {', '.join(READERS)}")
        read, allowed = READERS[kind]
        unknown = set(data) - {kind} - allowed
        if unknown:
            raise UsageError(f"{kind}: unknown {', '.join(sorted(map(str, unknown)))}")
        try:
            return read(self, data, depth + 1)
        except (TypeError, ValueError, KeyError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{kind}: {reprlib.repr(data[kind])} does not fit ({error})") from error

    def of(self, data: Json, depth: int) -> Expression:
        if "of" not in data:
            raise UsageError(f"{next(iter(data))}: 'of' is missing: the expression that it acts on")
        return self.read(data["of"], depth)

    def picture(self, sha256: Any) -> Tensor:
        return input_picture(self.inputs, sha256)

    def view(self, name: Any) -> View:
        brought = self.inputs.get(name)
        return brought if isinstance(brought, View) else make_view(name)

    def filter(self, name: Any) -> Filter:
        brought = self.inputs.get(name)
        return brought if isinstance(brought, Filter) else make_filter(name)


def _read_ask(reader: _Reader, data: Json, depth: int) -> Expression:  # noqa: ARG001
    return Ask(_read_condition(data), data.get("network"))


def _read_condition(data: Json) -> Condition:
    if "prompt" in data and isinstance(data["prompt"], str):
        return Prompt(data["prompt"])
    if "label" in data and isinstance(data["label"], int):
        return Label(data["label"])
    if data.get("unconditional") is True:
        return Unconditional()
    raise UsageError(f"a condition is a prompt, a label or unconditional, not {reprlib.repr(data)}")


def _read_mask(reader: _Reader, data: Json, depth: int) -> Expression:
    mask = Mask(reader.picture(data["mask"]))
    return reader.of(data, depth).where(~mask if data.get("outside") else mask)


def _read_sum(reader: _Reader, data: Json, depth: int) -> Expression:
    terms = tuple(reader.read(term, depth) for term in data["sum"])
    return Sum(terms, tuple(float(w) for w in data.get("weights", ())))


def _guided_levels(e: Expression) -> int:
    below = max((_guided_levels(child) for child in e.children), default=0)
    return below + isinstance(e, Guided)


def _read_scale(value: Any) -> float | Scale:
    match value:
        case {"curve": points}:
            return Curve(tuple((float(t), float(s)) for t, s in points))
        case {"cfg++": weight}:
            return CFGPlusPlus(float(weight))
        case dict():
            raise UsageError(f"a guidance scale is a number, a curve or cfg++, not {reprlib.repr(value)}")
    return float(value)


def _read_guided(reader: _Reader, data: Json, depth: int) -> Expression:
    lo, hi = data.get("between", (0.0, 1.0))
    child = reader.of(data, depth)
    if _guided_levels(child) >= MAX_GUIDED:
        raise UsageError(f"guidance goes at most {MAX_GUIDED} levels deep: each doubles the work")
    return Guided(
        child,
        _read_scale(data["guided"]),
        negative=_read_condition(data["negative"]) if "negative" in data else None,
        guide=data.get("guide"),
        between=(float(lo), float(hi)),
        projection=Projected(**data["projected"]) if "projected" in data else None,
    )


READERS: dict[str, tuple[Callable[[_Reader, Json, int], Expression], frozenset[str]]] = {
    "prompt": (_read_ask, frozenset({"network"})),
    "label": (_read_ask, frozenset({"network"})),
    "unconditional": (_read_ask, frozenset({"network"})),
    "known": (lambda r, d, n: Known(Content(r.picture(d["known"]))), frozenset()),  # noqa: ARG005
    "seen": (lambda r, d, n: Seen(r.of(d, n), r.view(d["seen"])), frozenset({"of"})),
    "filter": (lambda r, d, n: Filtered(r.of(d, n), r.filter(d["filter"])), frozenset({"of"})),
    "mask": (_read_mask, frozenset({"outside", "of"})),
    "sum": (_read_sum, frozenset({"weights"})),
    "crops": (lambda r, d, n: Crops(r.of(d, n), float(d["crops"])), frozenset({"of"})),
    "clipped": (
        lambda r, d, n: Clipped(r.of(d, n), float(d["clipped"]), d.get("quantile")),
        frozenset({"quantile", "of"}),
    ),
    "guided": (_read_guided, frozenset({"of", "negative", "guide", "between", "projected"})),
}

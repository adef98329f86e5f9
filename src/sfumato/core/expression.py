"""The algebra: every technique is an expression over denoised estimates.

A leaf is one network's estimate of x0 at the current (x, t). A node is a linear map of its children. Every
expression is

    x0(x, t) = sum_i A_i . leaf_i(x, t)         with  sum_i A_i = I,

so that mixing x0, eps or v is the same thing and the statistics of the noise stay right. A part, such as
`e.low_pass(2)` alone, may be built; only a whole one may be sampled (see invariant.py).

Evaluation takes two passes: `queries(frame)` down the tree, `combine(frame, answers)` up. Between them the
engine answers all queries of a step at once; equal queries carry equal keys and are answered once.

A node of the user's own is a subclass of `Expression` with `queries` and `combine`. With `keys`, `write` and
`read` it stands in recipes, too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.core.filters import Filter, HighPass, LowPass, Mask, make_filter
from sfumato.core.frame import (
    Answers,
    Condition,
    Frame,
    Key,
    Label,
    Prompt,
    Query,
    Unconditional,
    read_condition,
)
from sfumato.core.guidance import Projected, Scale, read_scale, write_scale
from sfumato.core.hashed import HashedTensor, one_picture
from sfumato.core.prediction import Estimate
from sfumato.core.views import Identity, View, make_view
from sfumato.core.writing import Json, Reader, Writer
from sfumato.errors import UsageError

MAX_GUIDED = 4  # levels of guidance that a recipe may nest: each doubles the work


class Expression(ABC):
    """A node of the tree: immutable, freely nested.

    keys: what begins the node's JSON form in a recipe; none for a node that cannot be written
    fields: what else stands in it
    flags: which of both are true or false; elsewhere a recipe has numbers

    A node with keys has a class method `read(data, reader)`, which gives the node that `write` wrote; what it
    cannot read raises UsageError, TypeError, ValueError or KeyError.
    """

    keys: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[frozenset[str]] = frozenset()
    flags: ClassVar[frozenset[str]] = frozenset()
    known: ClassVar[dict[str, type[Expression]]] = {}  # the nodes that recipes may hold, by their keys

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for key in cls.__dict__.get("keys", ()):
            if Expression.known.get(key, cls).__module__ != cls.__module__:
                raise UsageError(f"a node with the key {key!r} exists: give yours another")
            if not hasattr(cls, "read"):
                raise UsageError(f"a node with the key {key!r} needs `write` and `read`")
            Expression.known[key] = cls

    @property
    def name(self) -> str:
        """How an error names this node."""
        return type(self).__name__

    def write(self, writer: Writer) -> Json:
        """The node as JSON-able data; by default it becomes an input, and its children are for the reader."""
        children = [child.write(Writer()) for child in self.children]
        return {"custom": writer.own(self, "node"), "over": children}

    @property
    def children(self) -> tuple[Expression, ...]:
        """The nodes below, in order."""
        return ()

    def with_children(self, children: Sequence[Expression]) -> Expression:  # noqa: ARG002
        """The same node over other children."""
        return self

    @abstractmethod
    def queries(self, frame: Frame) -> Iterator[Query]:
        """Down: the queries that this node needs at this frame."""

    @abstractmethod
    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        """Up: the estimate of x0 in this frame, (B, C, H, W), from the answers."""

    # -- what expressions are built with

    def seen(self, view: View | str) -> Expression:
        """V^T D(V x): this expression as it reads through an orthogonal view."""
        view = make_view(view) if isinstance(view, str) else view
        return self if isinstance(view, Identity) else Seen(self, view)

    def filtered(self, band: Filter) -> Expression:
        """The part of this estimate that a linear filter lets through."""
        return Filtered(self, band)

    def low_pass(self, sigma: float) -> Expression:
        """The part seen from afar; sigma in pixels at a height of 64, scaled with the picture."""
        return self.filtered(LowPass(sigma))

    def high_pass(self, sigma: float) -> Expression:
        """The part seen from near: what low_pass(sigma) leaves."""
        return self.filtered(HighPass(sigma))

    def where(self, mask: Mask | Tensor) -> Expression:
        """The part inside a mask, (1, 1, H, W) in [0, 1]; `~mask` is the rest."""
        return self.filtered(mask if isinstance(mask, Mask) else Mask(mask))

    def guided(
        self,
        scale: Scale,
        *,
        negative: Condition | str | None = None,
        guide: str | None = None,
        between: tuple[float, float] = (0.0, 1.0),
        projection: Projected | None = None,
    ) -> Expression:
        """Classifier-free guidance, u + scale (c - u): see Guided."""
        condition = Prompt(negative) if isinstance(negative, str) else negative
        return Guided(self, scale, negative=condition, guide=guide, between=between, projection=projection)

    def clipped(self, limit: float = 1.0, *, quantile: float | None = None) -> Expression:
        """A nonlinear node: values kept in [-1, 1]; with a quantile, by dynamic thresholding."""
        return Clipped(self, limit, quantile)

    def __add__(self, other: Expression | str) -> Expression:
        """The sum of parts."""
        return Sum((*_terms(self), *_terms(as_expression(other))))

    def map_leaves(self, change: Callable[[Ask], Expression]) -> Expression:
        """The same tree with every leaf that asks a network changed."""
        return self.with_children([child.map_leaves(change) for child in self.children])

    def walk(self) -> Iterator[Expression]:
        """This node and all below it, from the top."""
        yield self
        for child in self.children:
            yield from child.walk()


def _terms(e: Expression) -> tuple[Expression, ...]:
    """The terms of a plain sum, so that a + b + c is one node."""
    return e.terms if isinstance(e, Sum) and set(e.weights) == {1.0} else (e,)


# ---------------------------------------------------------------------------------------------- the leaves


@dataclass(frozen=True)
class Ask(Expression):
    """A network's x0 under a condition."""

    keys = ("prompt", "label", "unconditional")
    fields = frozenset({"network", "styles"})
    flags = frozenset({"unconditional"})

    condition: Condition
    network: str | None = None

    @property
    def name(self) -> str:
        match self.condition:
            case Prompt(text):
                return f"prompt({text!r})"
            case Label(index):
                return f"label({index})"
            case Unconditional():
                return "unconditional()"

    def write(self, writer: Writer) -> Json:
        network = {} if self.network is None else {"network": writer.network(self.network)}
        return self.condition.write() | network

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Ask:  # noqa: ARG003
        return cls(read_condition(data), data.get("network"))

    def map_leaves(self, change: Callable[[Ask], Expression]) -> Expression:
        return change(self)

    def _key(self, frame: Frame) -> Key:
        return (self.network, self.condition, frame.chain)

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield Query(
            key=self._key(frame),
            network=self.network,
            condition=self.condition,
            x=frame.x,
            t=frame.now.t,
            low_resolution=frame.low_resolution,
            seeds=frame.seeds,
        )

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        return answers[self._key(frame)]


@dataclass(frozen=True)
class Known(Expression):
    """The picture itself, (1, C, H, W) in [-1, 1]: no network call. Equal by content.

    It answers in its own frame: seen through a view V it is V^T p, the picture that reads as p through V.
    """

    keys = ("known",)

    picture: HashedTensor

    @property
    def name(self) -> str:
        return "known(picture)"

    def write(self, writer: Writer) -> Json:
        return {"known": writer.picture(self.picture)}

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Known:
        return cls(reader.picture(data["known"]))

    def queries(self, frame: Frame) -> Iterator[Query]:  # noqa: ARG002
        yield from ()

    def combine(self, frame: Frame, answers: Answers) -> Estimate:  # noqa: ARG002
        picture = reduced(self.picture.tensor, frame.x.shape[-2:]).to(frame.x)
        if picture.shape[1:] != frame.x.shape[1:]:
            raise UsageError(
                f"a known picture of {_size(picture)} does not fit a run of {_size(frame.x)}: resize it"
            )
        return Estimate(x0=picture.expand_as(frame.x))


def reduced(picture: Tensor, size: Sequence[int]) -> Tensor:
    """A picture (1, C, H, W) by whole factors down to a size (h, w), the mean of its pixels; else as it is.

    So that one picture serves all stages of a cascade.
    """
    (height, width), (h, w) = picture.shape[-2:], size
    times = height // h
    if times < 2 or (height, width) != (times * h, times * w):
        return picture
    return F.avg_pool2d(picture, times)


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]} x {x.shape[-2]} pixels, {x.shape[-3]} channels"


# ----------------------------------------------------------------------------------------------- the nodes


@dataclass(frozen=True)
class Unary(Expression):
    """A node over one child."""

    child: Expression

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.child,)

    def with_children(self, children: Sequence[Expression]) -> Expression:
        return replace(self, child=children[0])


@dataclass(frozen=True)
class Seen(Unary):
    """V^T D(V x) for an orthogonal view V (Geng et al. 2024, Visual Anagrams, eq. 4)."""

    keys = ("seen",)
    fields = frozenset({"of"})

    view: View

    @property
    def name(self) -> str:
        return f"seen({self.view})"

    def write(self, writer: Writer) -> Json:
        return {"seen": writer.text(self.view, make_view, "view"), "of": self.child.write(writer)}

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Seen:
        view = reader.text(data["seen"], View, make_view)  # type: ignore[type-abstract]
        return cls(reader.child(data), view)

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame.through(self.view))

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        seen = self.child.combine(frame.through(self.view), answers)
        variance = self.view.inverse_variance(seen.variance) if seen.variance is not None else None
        return Estimate(x0=self.view.inverse(seen.x0), variance=variance)


@dataclass(frozen=True)
class Filtered(Unary):
    """The part of an estimate that a linear filter lets through (Geng et al. 2024, Factorized Diffusion)."""

    keys = ("filter", "mask")
    fields = frozenset({"of", "outside"})
    flags = frozenset({"outside"})

    band: Filter

    @property
    def name(self) -> str:
        return str(self.band)

    def write(self, writer: Writer) -> Json:
        of = {"of": self.child.write(writer)}
        if isinstance(self.band, Mask):
            return {"mask": writer.picture(self.band.held), "outside": self.band.outside} | of
        return {"filter": writer.text(self.band, make_filter, "filter")} | of

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Filtered:
        if "filter" in data:
            band = reader.text(data["filter"], Filter, make_filter)  # type: ignore[type-abstract]
            return cls(reader.child(data), band)
        mask = Mask(reader.picture(data["mask"]).tensor)
        return cls(reader.child(data), ~mask if data.get("outside") else mask)

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        whole = self.child.combine(frame, answers)
        return Estimate(x0=self.band.apply(whole.x0), variance=whole.variance)  # a variance is never filtered


@dataclass(frozen=True)
class Sum(Expression):
    """A weighted sum. The sum of parts weighs each with 1; a mean has weights that sum to 1."""

    keys = ("sum",)
    fields = frozenset({"weights"})

    terms: tuple[Expression, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms:
            raise UsageError("a sum needs at least one term")
        weights = self.weights or (1.0,) * len(self.terms)
        if len(weights) != len(self.terms):
            raise UsageError(f"{len(self.terms)} terms but {len(weights)} weights")
        if not all(math.isfinite(w) for w in weights):
            raise UsageError(f"weights must be finite numbers, not {weights}")
        object.__setattr__(self, "weights", tuple(float(w) for w in weights))

    @property
    def name(self) -> str:
        return "sum" if set(self.weights) == {1.0} else f"mean({', '.join(f'{w:g}' for w in self.weights)})"

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.terms

    def with_children(self, children: Sequence[Expression]) -> Expression:
        return Sum(tuple(children), self.weights)

    def write(self, writer: Writer) -> Json:
        return {"sum": [term.write(writer) for term in self.terms], "weights": list(self.weights)}

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Sum:
        return cls(tuple(map(reader.read, data["sum"])), tuple(float(w) for w in data.get("weights", ())))

    def _weighted(self) -> Iterator[tuple[Expression, float]]:
        return ((e, w) for e, w in zip(self.terms, self.weights, strict=True) if w != 0)

    def queries(self, frame: Frame) -> Iterator[Query]:
        for term, _ in self._weighted():
            yield from term.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        x0 = torch.zeros_like(frame.x)
        variances = []
        for term, weight in self._weighted():
            estimate = term.combine(frame, answers)
            x0 = x0 + weight * estimate.x0
            if estimate.variance is not None:
                variances.append(estimate.variance)
        # A learned variance is averaged over the readings; signs and filters mean nothing to it.
        return Estimate(x0=x0, variance=torch.stack(variances).mean(0) if variances else None)


@dataclass(frozen=True)
class Guided(Unary):
    """Guidance, u + s (c - u), with c the child and u the child under other conditions; s = 1 means off.

    Ho & Salimans 2022, eq. 6. u has no condition, a negative one, or a weaker network (Karras et al. 2024,
    Guiding a Diffusion Model with a Bad Version of Itself). Outside its interval s is 1 and u costs nothing
    (Kynkaanniemi et al. 2024).

    scale: a number, or a function of the noise levels (Curve, CFGPlusPlus); 1 is off.
    negative: the condition of u; None is no condition, or the child's own where `guide` is given.
    guide: the name of the network that answers u (autoguidance).
    between: the times (lo, hi) within which guidance acts; outside, u costs nothing.
    projection: adaptive projected guidance instead of the plain difference.
    """

    keys = ("guided",)
    fields = frozenset({"of", "negative", "guide", "between", "projected"})

    scale: Scale
    negative: Condition | None = None
    guide: str | None = None
    between: tuple[float, float] = (0.0, 1.0)
    projection: Projected | None = None

    def __post_init__(self) -> None:
        if not callable(self.scale):
            if isinstance(self.scale, bool) or not math.isfinite(self.scale):
                raise UsageError(f"the guidance scale must be a finite number, not {self.scale}")
            object.__setattr__(self, "scale", float(self.scale))
        lo, hi = self.between
        if not 0 <= lo <= hi <= 1:
            raise UsageError(f"guidance acts between two times 0 <= lo <= hi <= 1, not {self.between}")
        object.__setattr__(self, "between", (float(lo), float(hi)))

    @property
    def name(self) -> str:
        scale = f"{self.scale:g}" if isinstance(self.scale, float) else repr(self.scale)
        return f"guided({scale})"

    @cached_property
    def against(self) -> Expression:
        """The expression u."""

        def otherwise(leaf: Ask) -> Expression:
            own = leaf.condition if self.guide else Unconditional()
            return Ask(self.negative or own, self.guide or leaf.network)

        return self.child.map_leaves(otherwise)

    def scale_at(self, frame: Frame) -> float:
        """s at this frame's noise level."""
        lo, hi = self.between
        if not lo <= frame.now.t <= hi:
            return 1.0
        if not callable(self.scale):
            return self.scale
        scale = self.scale(frame.now, frame.to)
        if not math.isfinite(scale):
            raise UsageError(f"{self.name}: the scale at t = {frame.now.t:g} is {scale}")
        return scale

    def write(self, writer: Writer) -> Json:
        out: Json = {"guided": write_scale(self.scale, writer), "of": self.child.write(writer)}
        if self.negative is not None:
            out["negative"] = self.negative.write()
        if self.guide is not None:
            out["guide"] = writer.network(self.guide)
        if self.between != (0.0, 1.0):
            out["between"] = list(self.between)
        if self.projection is not None:
            out["projected"] = self.projection.write()
        return out

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Guided:
        lo, hi = data.get("between", (0.0, 1.0))
        child = reader.child(data)
        if _guided_levels(child) >= MAX_GUIDED:
            raise UsageError(f"guidance goes at most {MAX_GUIDED} levels deep: each doubles the work")
        return cls(
            child,
            read_scale(data["guided"], reader),
            negative=read_condition(data["negative"]) if "negative" in data else None,
            guide=data.get("guide"),
            between=(float(lo), float(hi)),
            projection=Projected(**data["projected"]) if "projected" in data else None,
        )

    def queries(self, frame: Frame) -> Iterator[Query]:
        scale = self.scale_at(frame)
        if scale != 0 or self.projection:
            yield from self.child.queries(frame)
        if scale != 1:
            yield from self.against.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        scale = self.scale_at(frame)
        if scale == 1:
            return self.child.combine(frame, answers)
        u = self.against.combine(frame, answers)
        if scale == 0 and not self.projection:
            return u
        c = self.child.combine(frame, answers)
        if self.projection is None:
            x0 = u.x0 + scale * (c.x0 - u.x0)
        else:
            place = (self, frame.chain)
            t, last, running = frame.memory.get(place, (None, None, None))
            if t != frame.now.t:  # at the same level again, the mean does not move on
                last = running
            push, running = self.projection.push(c.x0, u.x0, last)
            frame.memory[place] = (frame.now.t, last, running)
            x0 = c.x0 + (scale - 1) * push
        return Estimate(x0=x0, variance=c.variance)  # the variance comes from the conditional rows


@dataclass(frozen=True)
class Clipped(Unary):
    """Nonlinear: x0 clipped to [-1, 1], or dynamic thresholding (Saharia et al. 2022, Imagen, sec. 2.3).

    With a quantile p, s is that quantile of |x0| of each picture, held in [1, limit]; x0 is clipped to
    [-s, s] and divided by s.
    """

    keys = ("clipped",)
    fields = frozenset({"quantile", "of"})

    limit: float = 1.0
    quantile: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit >= 1):
            raise UsageError(f"the clipping limit must be 1 or more, not {self.limit}")
        if self.quantile is not None and not 0 < self.quantile <= 1:
            raise UsageError(f"the quantile of dynamic thresholding lies in (0, 1], not {self.quantile}")

    @property
    def name(self) -> str:
        return "clipped" if self.quantile is None else f"clipped(quantile={self.quantile:g})"

    def write(self, writer: Writer) -> Json:
        return {"clipped": self.limit, "quantile": self.quantile, "of": self.child.write(writer)}

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Clipped:
        return cls(reader.child(data), float(data["clipped"]), data.get("quantile"))

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        estimate = self.child.combine(frame, answers)
        if self.quantile is None:
            x0 = estimate.x0.clamp(-self.limit, self.limit)
            return replace(estimate, x0=x0, unclipped=estimate.x0)
        sizes = estimate.x0.flatten(1).abs()  #                                       (B, C H W)
        s = sizes.quantile(self.quantile, dim=1).clamp(1, self.limit).view(-1, 1, 1, 1)
        return replace(estimate, x0=estimate.x0.clamp(-s, s) / s, unclipped=estimate.x0)


def _guided_levels(e: Expression) -> int:
    below = max((_guided_levels(child) for child in e.children), default=0)
    return below + isinstance(e, Guided)


def conditions_of(e: Expression) -> Iterator[Condition]:
    """Every condition under which an expression may ask the run's own model, those of guidance included."""
    for node in e.walk():
        against = node.against.walk() if isinstance(node, Guided) and node.scale != 1 else ()
        for leaf in (node, *against):
            if isinstance(leaf, Ask) and leaf.network is None:
                yield leaf.condition


# -------------------------------------------------------------------------------------- what a user writes


def prompt(text: str, *, network: str | None = None) -> Expression:
    """The network's x0 under a text."""
    return Ask(Prompt(text), network)


def label(index: int, *, network: str | None = None) -> Expression:
    """The network's x0 under a class."""
    return Ask(Label(index), network)


def unconditional(*, network: str | None = None) -> Expression:
    """The network's x0 without a condition."""
    return Ask(Unconditional(), network)


def known(picture: Tensor) -> Expression:
    """A given picture, (1, C, H, W) or (C, H, W) in [-1, 1]."""
    return Known(one_picture(picture))


def mean(*expressions: Expression | str, weights: Sequence[float] | None = None) -> Expression:
    """The weighted mean of several readings; the weights sum to 1, a negative one means NOT."""
    terms = tuple(as_expression(e) for e in expressions)
    if not terms:
        raise UsageError("a mean needs at least one expression")
    shares = tuple(weights) if weights is not None else (1 / len(terms),) * len(terms)
    if not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
        raise UsageError(f"the weights of a mean sum to 1; {shares} sum to {math.fsum(shares):g}")
    return Sum(terms, shares)


def as_expression(e: Expression | str) -> Expression:
    """An expression; a text stands for its prompt."""
    if isinstance(e, Expression):
        return e
    if isinstance(e, str):
        return prompt(e)
    raise UsageError(f"an expression or a text was expected, not {type(e).__name__}")

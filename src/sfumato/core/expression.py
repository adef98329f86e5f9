"""The algebra: every technique is an expression over denoised estimates.

A leaf asks one question of one network at the current (x, t) and answers with an estimate of x0. A node is a
linear map of its children. Every expression is

    x0(x, t) = sum_i A_i . leaf_i(x, t)         with  sum_i A_i = I,

so that mixing x0, eps or v is the same thing and the statistics of the noise stay right. A part, such as
`e.low_pass(2)` alone, may be built; only a whole one may be sampled (see invariant.py).

Evaluation takes two passes: `queries(frame)` down the tree, `combine(frame, answers)` up. Between them the
engine answers all the questions of a step at once; equal questions carry equal keys and are asked once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.core.content import Content
from sfumato.core.filters import Filter, HighPass, LowPass, Mask
from sfumato.core.frame import Answers, Condition, Frame, Key, Label, Prompt, Query, Unconditional
from sfumato.core.prediction import Estimate
from sfumato.core.views import Identity, View, make_view
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.core.guidance import Projected, Scale


class Expression(ABC):
    """A node of the tree: immutable, freely nested."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How an error names this node."""

    @property
    def children(self) -> tuple[Expression, ...]:
        """The nodes below, in order."""
        return ()

    def with_children(self, children: Sequence[Expression]) -> Expression:  # noqa: ARG002
        """The same node over other children."""
        return self

    @abstractmethod
    def queries(self, frame: Frame) -> Iterator[Query]:
        """Down: the questions that this node needs answered at this frame."""

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
        scale: float | Scale,
        *,
        negative: Condition | str | None = None,
        guide: str | None = None,
        between: tuple[float, float] = (0.0, 1.0),
        projection: Projected | None = None,
    ) -> Expression:
        """Classifier-free guidance, u + scale (c - u): see guidance.Guided."""
        from sfumato.core.guidance import Guided

        condition = Prompt(negative) if isinstance(negative, str) else negative
        return Guided(self, scale, negative=condition, guide=guide, between=between, projection=projection)

    def clipped(self, limit: float = 1.0, *, quantile: float | None = None) -> Expression:
        """A nonlinear node: values kept in [-1, 1]; with a quantile, by dynamic thresholding."""
        from sfumato.core.guidance import Clipped

        return Clipped(self, limit, quantile)

    def __add__(self, other: Expression | str) -> Expression:
        """The sum of parts."""
        return Sum((*_terms(self), *_terms(as_expression(other))))

    def map_leaves(self, change: Callable[[Ask], Expression]) -> Expression:
        """The same tree with every question to a network changed."""
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
            beside=frame.beside,
        )

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        return answers[self._key(frame)]


@dataclass(frozen=True)
class Known(Expression):
    """The picture itself, (1, C, H, W) in [-1, 1]: no network call. Equal by content.

    It answers in its own frame: seen through a view V it is V^T p, the picture that reads as p through V.
    """

    picture: Content

    @property
    def name(self) -> str:
        return "known(picture)"

    def queries(self, frame: Frame) -> Iterator[Query]:  # noqa: ARG002
        yield from ()

    def combine(self, frame: Frame, answers: Answers) -> Estimate:  # noqa: ARG002
        picture = self.picture.tensor.to(frame.x)
        if picture.shape[1:] != frame.x.shape[1:]:
            raise UsageError(
                f"a known picture of {_size(picture)} does not fit a run of {_size(frame.x)}: resize it"
            )
        return Estimate(x0=picture.expand_as(frame.x))


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

    view: View

    @property
    def name(self) -> str:
        return f"seen({self.view})"

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame.through(self.view))

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        seen = self.child.combine(frame.through(self.view), answers)
        variance = self.view.inverse_variance(seen.variance) if seen.variance is not None else None
        return Estimate(x0=self.view.inverse(seen.x0), variance=variance)


@dataclass(frozen=True)
class Filtered(Unary):
    """The part of an estimate that a linear filter lets through (Geng et al. 2024, Factorized Diffusion)."""

    band: Filter

    @property
    def name(self) -> str:
        return str(self.band)

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        whole = self.child.combine(frame, answers)
        return Estimate(x0=self.band.apply(whole.x0), variance=whole.variance)  # a variance is never filtered


@dataclass(frozen=True)
class Sum(Expression):
    """A weighted sum. The sum of parts weighs each with 1; a mean has weights that sum to 1."""

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


def one_picture(picture: Tensor) -> Content:
    """One picture, (C, H, W) or (1, C, H, W), as an expression may hold it."""
    if picture.dim() not in (3, 4) or (picture.dim() == 4 and len(picture) != 1) or not picture.numel():
        raise UsageError(f"a picture has the shape (C, H, W) or (1, C, H, W), not {tuple(picture.shape)}")
    return Content(picture)


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
    """A text stands for its prompt."""
    if isinstance(e, Expression):
        return e
    if isinstance(e, str):
        return prompt(e)
    raise UsageError(f"an expression or a text was expected, not {type(e).__name__}")

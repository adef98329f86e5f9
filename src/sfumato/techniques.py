"""The techniques of the field, a few lines each over the algebra.

What fuses readings is an expression, and expressions nest. What also says where sampling starts, which pixels
stay or how large the canvas is, is an Edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.core.content import Content
from sfumato.core.crops import crops
from sfumato.core.expression import (
    Expression,
    Sum,
    as_expression,
    known,
    mean,
    one_picture,
    unconditional,
)
from sfumato.core.filters import Colour, Grey, Mask, Motion, bands
from sfumato.core.views import View
from sfumato.errors import UsageError

Reading = Expression | str


@dataclass(frozen=True, kw_only=True)
class Edit:
    """An expression with the picture that it works on.

    start: sampling starts from this picture, noised, at `strength` in (0, 1]; 1 forgets it.
    low: the picture that is made larger, by a model that does that.
    keep, mask: pixels of `keep` outside the mask (1 where pixels are made) stay exactly as they are.
    jump, repeats: RePaint's resampling; repeats 1 is none.
    size: (H, W) of the canvas; None is the model's own.
    """

    expression: Expression
    start: Content | None = None
    strength: float = 1.0
    low: Content | None = None
    keep: Content | None = None
    mask: Mask | None = None
    jump: int = 10
    repeats: int = 1
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.outside:  # held as a plain mask
            object.__setattr__(self, "mask", Mask(1 - self.mask.tensor))


def anagram(*readings: Reading, view: View | str | Sequence[View | str] = "flip") -> Expression:
    """A picture that reads differently through views: mean of A_i^T D(A_i x, p_i) (Geng et al. 2024).

    The first reading is seen upright; `view` is one view for the second, or one for each further reading.
    """
    views = [view] if isinstance(view, str | View) else list(view)
    if len(readings) < 2:
        raise UsageError("an anagram needs at least two prompts")
    if len(views) != len(readings) - 1:
        raise UsageError(
            f"{len(readings)} readings need {len(readings) - 1} views (the first is upright), "
            f"not {len(views)}"
        )
    first, *others = (as_expression(reading) for reading in readings)
    return mean(first, *(e.seen(v) for e, v in zip(others, views, strict=True)))


def hybrid(
    *,
    far: Reading,
    near: Reading,
    middle: Reading | None = None,
    sigma: float | Sequence[float] | None = None,
) -> Expression:
    """One subject from afar, another from near (Geng et al. 2024, Factorized Diffusion, sec. 3.2).

    sigma: width of the Gaussian in pixels at a height of 64. Two bands take one, by default 2; three take
    two, by default (2, 1), the wider first. A smaller sigma makes the far subject easier to see.
    """
    readings = [far, near] if middle is None else [far, middle, near]
    if sigma is None:
        sigma = (2.0,) if middle is None else (2.0, 1.0)
    sigmas = (sigma,) if isinstance(sigma, int | float) else tuple(sigma)
    if len(sigmas) != len(readings) - 1:
        raise UsageError(f"{len(readings)} bands need {len(readings) - 1} sigmas, not {len(sigmas)}")
    parts = zip(readings, bands(sigmas), strict=True)
    return Sum(tuple(as_expression(e).filtered(band) for e, band in parts))


def colour_hybrid(*, grey: Reading, colour: Reading) -> Expression:
    """One subject in grey, another once the colours are seen (Factorized Diffusion, sec. 3.3)."""
    return as_expression(grey).filtered(Grey()) + as_expression(colour).filtered(Colour())


def motion_hybrid(*, moving: Reading, still: Reading, motion: Motion | None = None) -> Expression:
    """One subject when the picture is moved along a diagonal, another at rest (sec. 3.4)."""
    blur = motion or Motion()
    return as_expression(moving).filtered(blur) + as_expression(still).filtered(blur.complement())


def compose(
    *readings: Reading, weights: Sequence[float] | None = None, without: Sequence[Reading] = ()
) -> Expression:
    """All of the readings at once, and none of `without` (Liu et al. 2022, eqs. 11 and 13).

    u + sum_i w_i (e_i - u): the weights, by default 1 / n each, need not sum to 1; what is missing is filled
    by the unconditional estimate u. Each of `without` has the negative of the mean weight.
    """
    if not readings:
        raise UsageError("a composition needs at least one prompt")
    shares = list(weights) if weights is not None else [1 / len(readings)] * len(readings)
    if len(shares) != len(readings):
        raise UsageError(f"{len(readings)} prompts but {len(shares)} weights")
    against = [-sum(shares) / len(shares)] * len(without)
    rest = 1 - sum(shares) - sum(against)
    terms = [*readings, *without]
    if abs(rest) > 1e-9:
        terms, against = [*terms, unconditional()], [*against, rest]
    return mean(*terms, weights=[*shares, *against])


def panorama(reading: Reading, *, size: tuple[int, int], overlap: float = 0.5) -> Edit:
    """A canvas (H, W) larger than the network, by overlapping windows (Bar-Tal et al. 2023)."""
    return Edit(expression=crops(reading, overlap=overlap), size=size)


def translate(picture: Tensor, reading: Reading, *, strength: float = 0.7) -> Edit:
    """Image to image: a picture (C, H, W), noised to `strength` and denoised (Meng et al. 2022, SDEdit)."""
    return Edit(expression=as_expression(reading), start=one_picture(picture), strength=strength)


def upscale(picture: Tensor, reading: Reading) -> Edit:
    """A picture (C, h, w) made larger, by a model that does that (Ho et al. 2022, Cascaded Diffusion)."""
    return Edit(expression=as_expression(reading), low=one_picture(picture))


def inpaint(
    picture: Tensor,
    mask: Mask | Tensor,
    reading: Reading,
    *,
    strength: float = 1.0,
    jump: int = 10,
    repeats: int = 1,
) -> Edit:
    """Make the pixels inside the mask anew; those outside stay exactly (Lugmayr et al. 2022, RePaint).

    picture (C, H, W) in [-1, 1]; mask (1, 1, H, W), 1 where pixels are made. Before each step the known
    region is replaced by the noised picture. repeats > 1 goes back up `jump` steps that many times, so
    that the new part and the old come to agree: better seams for `repeats` times the work.
    """
    region = mask if isinstance(mask, Mask) else Mask(mask)
    kept = one_picture(picture)
    (mh, mw), (h, w) = region.tensor.shape[-2:], kept.tensor.shape[-2:]
    if (mh, mw) != (h, w):
        raise UsageError(f"the mask has {mw} x {mh} pixels and the picture {w} x {h}: give one of its size")
    e = as_expression(reading)
    return Edit(
        expression=e.where(region) + known(picture).where(~region),
        start=kept if strength < 1 else None,
        strength=strength,
        keep=kept,
        mask=region,
        jump=jump,
        repeats=repeats,
    )

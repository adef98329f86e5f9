"""The techniques of the field, a few lines each over the algebra.

A technique that fuses readings gives an expression, and expressions nest. One that also sets where sampling
starts, which pixels stay or how large the canvas is gives an Edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from sfumato.core.crops import crops
from sfumato.core.expression import Expression, Known, Sum, as_expression, mean, unconditional
from sfumato.core.filters import Colour, Grey, Mask, Motion, bands
from sfumato.core.hashed import HashedTensor, one_picture
from sfumato.core.views import View
from sfumato.errors import UsageError
from sfumato.pictures.fitting import FIT, Fit
from sfumato.pictures.given import PictureSource, check_range, file_of, is_picture_source
from sfumato.pictures.read import picture_size, read_mask, read_picture
from sfumato.recipe import InputFile

Reading = Expression | str
# A tensor in [-1, 1] of the run's own size, or a picture that is brought to it
GivenPicture = Tensor | PictureSource


@dataclass(frozen=True, kw_only=True)
class Edit:
    """An expression with the picture that it works on.

    start: sampling starts from this picture, noised, at `strength` in (0, 1]; 1 forgets it. start_time
    instead of strength: it is noised to this time, and all steps lead down from there.
    low: the picture that is made larger, by a model that does that.
    keep, mask: pixels of `keep` outside the mask (1 where pixels are made) stay exactly as they are.
    jump, repeats: RePaint's resampling; repeats 1 is none.
    size: (H, W) of the canvas; None is the model's own.
    fit: how pictures of another aspect are brought to the size (pictures/fitting.py).

    Pictures that are no tensors stay as they are given until `fitted` knows the size of the run.
    """

    expression: Expression
    start: HashedTensor | PictureSource | None = None
    strength: float = 1.0
    start_time: float | None = None
    low: HashedTensor | PictureSource | None = None
    keep: HashedTensor | PictureSource | None = None
    mask: Mask | PictureSource | None = None
    jump: int = 10
    repeats: int = 1
    size: tuple[int, int] | None = None
    fit: Fit = FIT

    def __post_init__(self) -> None:
        if isinstance(self.mask, Mask) and self.mask.outside:  # held as a plain mask
            object.__setattr__(self, "mask", Mask(1 - self.mask.tensor))

    def fitted(self, channels: int, size: tuple[int, int]) -> tuple[Edit, Mapping[str, InputFile]]:
        """The edit with its pictures read for a run of this size (H, W); and their files, by sha256.

        A tensor stays as it is. Another picture is brought to the size of the run; the picture that is made
        larger keeps its size.
        """
        files: dict[str, InputFile] = {}

        def read(
            given: HashedTensor | PictureSource | None, own: tuple[int, int] | None
        ) -> HashedTensor | None:
            if given is None or isinstance(given, HashedTensor):
                return given
            held = HashedTensor(read_picture(given, size=own, channels=channels, fit=self.fit))
            if (path := file_of(given)) is not None:
                files[held.sha256] = InputFile(file=path, fit=self.fit)
            return held

        mask = self.mask
        if mask is not None and not isinstance(mask, Mask):
            assert self.keep is not None
            path, own = file_of(mask), _size_of(self.keep)
            mask = Mask(read_mask(mask, size=own, resize=size, fit=self.fit))
            if path is not None:
                files[mask.sha256] = InputFile(file=path, kind="mask", fit=self.fit)
        return replace(
            self,
            start=read(self.start, size),
            low=read(self.low, None),
            keep=read(self.keep, size),
            mask=mask,
        ), files

    def low_size(self) -> tuple[int, int]:
        """(H, W) of the picture that is made larger."""
        assert self.low is not None
        return _size_of(self.low)

    def whole(self) -> Expression:
        """The expression that is sampled: of a fitted edit with a mask, what is made inside, kept outside."""
        if self.keep is None:
            return self.expression
        assert isinstance(self.keep, HashedTensor)
        assert isinstance(self.mask, Mask)
        return self.expression.where(self.mask) + Known(self.keep).where(~self.mask)


def as_edit(what: Edit | Reading) -> Edit:
    """An edit as it is; an expression or a text as the edit without a picture."""
    return what if isinstance(what, Edit) else Edit(expression=as_expression(what))


def _size_of(picture: HashedTensor | PictureSource) -> tuple[int, int]:
    """The picture's own (H, W)."""
    if isinstance(picture, HashedTensor):
        return cast(tuple[int, int], tuple(picture.tensor.shape[-2:]))
    return picture_size(picture)


def _given(picture: GivenPicture) -> HashedTensor | PictureSource:
    """A tensor checked and held; another picture as it is given."""
    if isinstance(picture, Tensor):
        held = one_picture(picture)
        check_range(held.tensor)
        return held
    if not is_picture_source(picture):
        kind = type(picture).__name__
        raise UsageError(f"a picture is a file, a PIL picture, an array or a tensor, not {kind}")
    return picture


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


def translate(
    picture: GivenPicture,
    reading: Reading,
    *,
    strength: float = 0.7,
    start_time: float | None = None,
    fit: Fit = FIT,
) -> Edit:
    """Image to image: a picture, noised to `strength` and denoised (Meng et al. 2022, SDEdit).

    picture: a tensor (C, H, W) in [-1, 1] of the run's size; or a file, a PIL picture or an array, uint8 or
    floats in [0, 1], which is brought to it. start_time: noised to this time instead. fit: what happens to a
    picture of another aspect, "top" (one that is too tall loses its lower part, one that is too wide both
    sides), "crop" (both ends) or "pad" (white is added).
    """
    return Edit(
        expression=as_expression(reading),
        start=_given(picture),
        strength=strength if start_time is None else 1.0,
        start_time=start_time,
        fit=fit,
    )


def upscale(picture: GivenPicture, reading: Reading) -> Edit:
    """A picture (C, h, w) made larger, by a model that does that (Ho et al. 2022, Cascaded Diffusion)."""
    return Edit(expression=as_expression(reading), low=_given(picture))


def inpaint(
    picture: GivenPicture,
    mask: Mask | GivenPicture,
    reading: Reading,
    *,
    strength: float = 1.0,
    jump: int = 10,
    repeats: int = 1,
    fit: Fit = FIT,
) -> Edit:
    """Make the pixels inside the mask anew; those outside stay exactly (Lugmayr et al. 2022, RePaint).

    picture, fit: as for `translate`. mask: a tensor (1, 1, H, W) of the picture's size, 1 where pixels are
    made; or a picture in another form, white where pixels are made. Before each step the known region is
    replaced by the noised picture. repeats > 1 goes back up `jump` steps that many times, so that the new
    part and the old come to agree: better seams for `repeats` times the work.
    """
    region = Mask(mask) if isinstance(mask, Tensor) else mask
    if not isinstance(region, Mask) and not is_picture_source(region):
        raise UsageError(f"a mask is a tensor, a file, a PIL picture or an array, not {type(mask).__name__}")
    kept = _given(picture)
    if isinstance(region, Mask) and isinstance(kept, HashedTensor):
        (mh, mw), (h, w) = region.tensor.shape[-2:], kept.tensor.shape[-2:]
        if (mh, mw) != (h, w):
            raise UsageError(
                f"the mask has {mw} x {mh} pixels and the picture {w} x {h}: give one of its size"
            )
    return Edit(
        expression=as_expression(reading),
        start=kept if strength < 1 else None,
        strength=strength,
        keep=kept,
        mask=region,
        jump=jump,
        repeats=repeats,
        fit=fit,
    )

"""Views and filters on a model of latents: its estimates are decoded, changed as pictures, and encoded again.

A latent is no small picture: turned or filtered it decodes to something else. Its estimates of x0 can be
decoded, though, and the algebra holds for them: with the decoder D and the encoder E

    x0 = E( sum_i A_i D(leaf_i) )                                        with  sum_i A_i = I,

so filters, masks and known pictures need no more. What a network is shown through a view V has to be a noisy
latent. Its clean part is the estimate at hand, p (in pixels), its noise is told from the state z by it:

    z = alpha E(p) + sigma n         is seen as        alpha E(V p) + sigma V n,

where V turns the noise on the latent's own grid: normal noise stays normal noise. Before the first estimate
there is noise alone (or, where sampling starts from a picture, its latent, turned on the grid).

Guidance goes to the leaves first, where it is a difference of latents as its scale was chosen for; being
linear, it may.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from sfumato.core.expression import Expression, Filtered, Guided, Known, Seen, Unary
from sfumato.core.frame import Answers, Frame, Query
from sfumato.core.hashed import HashedTensor
from sfumato.core.prediction import Estimate
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.models.codec import Codec


@dataclass(frozen=True)
class Decoded(Unary):
    """A leaf among pictures: what an expression over latents says, decoded."""

    codec: Codec

    @property
    def name(self) -> str:
        return f"decoded({self.child.name})"

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        latent = frame.x.new_zeros(len(frame.x), *self.codec.state_shape)  #  its values are not looked at
        found = self.child.combine(replace(frame, x=latent, _seen={}), answers)
        return Estimate(x0=self.codec.decode(found.x0))


@dataclass(frozen=True)
class InPixels(Unary):
    """An expression over latents whose child is one over pictures, with leaves that are Decoded."""

    codec: Codec

    @property
    def name(self) -> str:
        return f"in_pixels({self.child.name})"

    def queries(self, frame: Frame) -> Iterator[Query]:
        found = frame.memory.get(self)
        if found is None:
            yield from self.child.queries(frame)
            return
        clean, picture = found  #                                       E(p) (B, C', h, w), p (B, C, H, W)
        alpha, sigma = frame.now.alpha, frame.now.sigma
        noise = replace(frame, x=(frame.x - alpha * clean) / sigma, _seen={})
        pictures = replace(frame, x=picture, low_resolution=None, _seen={})
        seen: dict[object, Tensor] = {(): frame.x}  #                   by the chain of views
        for noisy, shown in zip(self.child.queries(noise), self.child.queries(pictures), strict=True):
            chain = noisy.key[-1]  # of the views above the leaf (Ask)
            if chain not in seen:
                seen[chain] = alpha * self.codec.encode(shown.x) + sigma * noisy.x
            yield replace(noisy, x=seen[chain])

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        blank = frame.x.new_zeros(len(frame.x), *self.codec.shape)
        picture = self.child.combine(replace(frame, x=blank, low_resolution=None, _seen={}), answers).x0
        latent = self.codec.encode(picture)
        frame.memory[self] = (latent, picture)
        return Estimate(x0=latent)


def acts_on_pixels(e: Expression) -> bool:
    """Whether anything in an expression means pixels."""
    return any(isinstance(node, Seen | Filtered | Known) for node in e.walk())


def in_pixels(e: Expression, codec: Codec) -> Expression:
    """An expression over pictures as one over latents.

    Raises:
        UsageError: nothing in it acts on pixels, or projected guidance does, which cannot go to the leaves.
    """
    if not acts_on_pixels(e):
        raise UsageError("nothing in the expression acts on pixels: leave in_pixels out")
    return InPixels(_over_pictures(e, codec, ()), codec)


def _over_pictures(e: Expression, codec: Codec, guidance: Sequence[Guided]) -> Expression:
    """The tree with every largest part that is latent made a leaf, under the guidance from above."""
    if not acts_on_pixels(e):
        for guided in reversed(guidance):
            e = replace(guided, child=e)
        return Decoded(e, codec)
    if isinstance(e, Guided):
        if e.projection is not None:
            raise UsageError(f"{e.name}: projected guidance of pictures cannot be told to latents")
        return _over_pictures(e.child, codec, (*guidance, e))
    return e.with_children([_over_pictures(child, codec, guidance) for child in e.children])


def encoded(e: Expression, codec: Codec) -> Expression:
    """The same tree over latents: known pictures are encoded; masks are as they are, on the coarser grid."""
    if isinstance(e, Known):
        picture = e.picture.tensor
        if picture.shape[1:] != codec.shape:
            raise UsageError(
                f"a known picture of {picture.shape[-1]} x {picture.shape[-2]} pixels does not fit a run of "
                f"{codec.shape[2]} x {codec.shape[1]}: resize it"
            )
        return Known(HashedTensor(codec.encode(picture)))
    return e.with_children([encoded(child, codec) for child in e.children])

"""Expressions over decoded latents, with codecs that are exact: the same run can be made without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle

import sfumato as sf
from sfumato.core.engine import Denoiser, Engine
from sfumato.core.expression import Expression
from sfumato.core.frame import Condition
from sfumato.core.noise import Noise
from sfumato.core.path import make_path
from sfumato.core.prediction import Estimate
from sfumato.core.sampler import sampler
from sfumato.core.schedule import BetaTable
from sfumato.core.solvers import make_solver
from sfumato.models.codec import Codec
from sfumato.models.in_pixels import in_pixels
from toys import Toy


class Shuffled:
    """Every latent cell holds the four pixels of a square: linear, orthogonal, not the same when turned."""

    shape, state_shape = (1, 16, 16), (4, 8, 8)

    def encode(self, picture: Tensor) -> Tensor:
        return pixel_unshuffle(picture, 2)

    def decode(self, state: Tensor) -> Tensor:
        return pixel_shuffle(state, 2)


class Coarse:
    """Every latent cell is a square of one colour: turns as pictures do."""

    shape, state_shape = (3, 16, 16), (3, 8, 8)

    def encode(self, picture: Tensor) -> Tensor:
        return avg_pool2d(picture, 2)

    def decode(self, state: Tensor) -> Tensor:
        return interpolate(state, scale_factor=2, mode="nearest")


class OnPictures:
    """A denoiser of latents as one of pictures."""

    def __init__(self, inner: Toy, codec: Codec) -> None:
        self.inner, self.codec = inner, codec

    def denoise(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Estimate:
        return Estimate(x0=self.codec.decode(self.inner.denoise(self.codec.encode(x), t, conditions).x0))


def sampled(e: Expression, network: Denoiser, x: Tensor, solver: str = "dpm++2m") -> Tensor:
    schedule = BetaTable("linear")
    draw = Noise([3, 4], tuple(x.shape[1:])).draw
    asking = sampler(
        e, x=x, path=make_path(schedule, 6), schedule=schedule, solver=make_solver(solver), draw=draw
    )
    (made,) = Engine(network).run(asking)
    return made


MASK = torch.zeros(1, 1, 16, 16)
MASK[..., 3:9, 2:11] = 1
PICTURE = torch.rand((1, 16, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
WHOLES: dict[str, Expression] = {
    "hybrid": sf.hybrid(far="a", near="b"),
    "guided hybrid": sf.hybrid(far="a", middle="c", near="b").guided(5, negative="d", between=(0.2, 0.8)),
    "regions": sf.mean(sf.prompt("a"), sf.prompt("b")).where(MASK) + sf.prompt("c").where(1 - MASK),
    "inpainting": (sf.prompt("a").where(MASK) + sf.known(PICTURE).where(1 - MASK)).guided(3),
    "negative": sf.anagram("a", "b", view="negate"),
    "guided and composed": sf.mean(sf.prompt("a").low_pass(1) + sf.prompt("b").high_pass(1), "c").guided(4),
}


@pytest.mark.parametrize("name", WHOLES)
@pytest.mark.parametrize("solver", ["dpm++2m", "heun"])
def test_filters_masks_and_guidance_mean_the_same_as_on_pictures(name: str, solver: str) -> None:
    codec, toy, e = Shuffled(), Toy(4), WHOLES[name]
    x = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    ours = sampled(in_pixels(e, codec), toy, x, solver)
    theirs = sampled(e, OnPictures(Toy(4), codec), codec.decode(x), solver)
    torch.testing.assert_close(codec.decode(ours), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("view", ["flip", "rotate_cw", "negate", "rotate_180", "patch_permute:patches=4"])
@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_views_mean_the_same_as_on_latents_that_turn_as_pictures_do(view: str, solver: str) -> None:
    codec, e = Coarse(), sf.anagram("a", "b", view=view).guided(2)
    x = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(2))
    ours = sampled(in_pixels(e, codec), Toy(3), x, solver)
    theirs = sampled(e, Toy(3), x, solver)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ours, sampled(sf.prompt("a").guided(2), Toy(3), x, solver), atol=1e-2)


def test_no_question_is_asked_twice() -> None:
    toy = Toy(4)
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    sampled(in_pixels(sf.hybrid(far="a", near="b").guided(3), Shuffled()), toy, x)
    assert set(toy.forwards) == {3}  # as on pictures: far, near and without condition
    toy.forwards.clear()
    sampled(in_pixels(sf.anagram("a", "b").guided(3), Shuffled()), toy, x)
    assert set(toy.forwards) == {4}


def test_the_questions_of_leaves_may_be_given_to_another_network() -> None:
    """As a cascade does for its stages."""
    codec, e = Shuffled(), in_pixels(sf.hybrid(far="a", near="b").guided(2), Shuffled())
    moved = e.map_leaves(lambda leaf: replace(leaf, network="stage 1"))
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    schedule = BetaTable("linear")
    how = {"x": x, "path": make_path(schedule, 4), "schedule": schedule, "draw": Noise([1], (4, 8, 8)).draw}
    (ours,) = Engine(Toy(4, seed=9), {"stage 1": Toy(4)}).run(
        sampler(moved, solver=make_solver("ddim"), **how)
    )
    (theirs,) = Engine(Toy(4)).run(sampler(e, solver=make_solver("ddim"), **how))
    assert torch.equal(ours, theirs)
    assert codec.decode(ours).shape == (1, 1, 16, 16)

"""Changes of pictures that a classifier is trained and tested on."""

from collections.abc import Mapping

import pytest
import torch
from tools import augment
from tools.augment import Change
from tools.train_emoji_classifier import EMOJI, HELD_OUT
from torch import Tensor

CHANGES: Mapping[str, Change] = {
    **HELD_OUT,
    "training": EMOJI.change,
    "affine": augment.affine(turn=20, scale=0.2, shear=0.1, shift=0.1),
    "colour": augment.colour(light=0.2, contrast=0.3, mix=0.2),
    "blur": augment.blur(3),
    "edges": augment.edges(3, 0),
    "coarse": augment.coarse(0.3),
    "noise": augment.noise(0.3),
    "jpeg": augment.jpeg(0.1),
}
NOTHING: Mapping[str, Change] = {
    "affine": augment.affine(),
    "waves": augment.waves(0, 4),
    "perspective": augment.perspective(0),
    "colour": augment.colour(light=0, contrast=0, mix=0),
    "blur": augment.blur(0.1),
    "coarse": augment.coarse(1),
    "noise": augment.noise(0),
    "jpeg": augment.jpeg(1e-5),
    "posterised": augment.posterised(256),
    "pixelated": augment.pixelated(1),
    "hidden": augment.hidden(0),
    "never": augment.sometimes(augment.noise(1), 0),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6) -> Tensor:
    """Bytes in [-1, 1], smooth and coloured, each another."""
    coarse = torch.randint(0, 256, (count, 3, 4, 4), generator=generator()).float()
    x = torch.nn.functional.interpolate(coarse, size=24, mode="bilinear")
    return x.round() / 127.5 - 1


@pytest.mark.parametrize("name", CHANGES)
def test_pictures_stay_pictures_and_follow_from_the_generator(name: str) -> None:
    x = pictures()
    before = x.clone()
    once, again, other = (CHANGES[name](x, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(x, before)
    assert once.shape == x.shape
    assert once.isfinite().all()
    assert torch.equal(once, again)
    if name not in ("posterised", "pixelated"):
        assert not torch.equal(once, other)
    assert (once - x).abs().mean() > 1e-3


@pytest.mark.parametrize("name", NOTHING)
def test_no_change_is_none(name: str) -> None:
    x = pictures()
    torch.testing.assert_close(NOTHING[name](x, generator()), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["affine", "colour", "blur", "noise", "jpeg", "bent", "in perspective"])
def test_each_picture_is_changed_by_its_own_amount(name: str) -> None:
    same = pictures(1).expand(4, -1, -1, -1)
    changed = CHANGES[name](same, generator())
    for row in (1, 2, 3):
        assert not torch.allclose(changed[0], changed[row], atol=1e-3)


def test_what_comes_into_view_is_the_ground() -> None:
    black = torch.full((8, 3, 24, 24), -1.0)
    moved = augment.affine(shift=0.3, ground=1)(black, generator())
    assert moved.max() == 1
    assert augment.affine(shift=0.3, ground=-1)(black, generator()).eq(-1).all()


def test_a_blur_keeps_constants_and_what_it_takes_are_the_edges() -> None:
    plain = torch.full((2, 3, 24, 24), 0.3)
    torch.testing.assert_close(augment.blur(3)(plain, generator()), plain)
    torch.testing.assert_close(augment.edges(3, 0.8)(plain, generator()), torch.full_like(plain, 0.8))


def test_greys_stay_grey_whatever_the_matrix_of_colours() -> None:
    grey = pictures()[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(augment.colour(light=0, contrast=0, mix=0.3)(grey, generator()), grey)


def test_jpeg_keeps_a_block_that_its_steps_hit() -> None:
    """Each block's mean is rounded and nothing else is there to round."""
    blocks = torch.full((1, 1, 8, 8), 0.5)
    found = augment.jpeg(0.1)(blocks, generator())
    assert found.std() < 1e-5
    assert (found - 0.5).abs().max() <= 0.1 / 2


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_sometimes(share: float) -> None:
    x = torch.zeros(400, 1, 2, 2)
    changed = augment.sometimes(lambda x, _: x + 1, share)(x, generator())
    assert changed.amax((1, 2, 3)).mean() == pytest.approx(share, abs=0.08)


def test_one_of_takes_each_for_some() -> None:
    x = torch.zeros(300, 1, 1, 1)
    change = augment.one_of([lambda x, _: x + 1, lambda x, _: x + 2])
    assert change(x, generator()).flatten().unique().tolist() == [1, 2]


def test_nothing_that_measures_is_trained_on() -> None:
    """Sheared, bent, in perspective, posterised, pixelated, hidden: no kind of these is in the recipe."""
    x = pictures()
    for name, change in HELD_OUT.items():
        assert not torch.allclose(change(x, generator()), EMOJI.change(x, generator()), atol=0.05), name

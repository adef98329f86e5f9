import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.core.filters import (
    FILTERS,
    Band,
    Colour,
    Complement,
    Grey,
    HighPass,
    LowPass,
    Mask,
    Motion,
    Still,
    bands,
    make_filter,
)
from sfumato.errors import UsageError

TEXTS = [
    "low_pass:sigma=2",
    "high_pass:sigma=1.5",
    "band:low=1,high=2",
    "~band:low=0.5,high=8",
    "grey",
    "colour",
    "motion",
    "still",
    "motion:angle=110,length=12",
    "still:angle=0,length=5.5",
]
DISC = (torch.linspace(-1, 1, 16)[:, None] ** 2 + torch.linspace(-1, 1, 16) ** 2 < 0.6).float()
SOFT = torch.rand((1, 1, 16, 16), generator=torch.Generator().manual_seed(0))
FILTERS_TRIED = [*map(make_filter, TEXTS), Mask(DISC), ~Mask(SOFT)]

quick = settings(max_examples=20, deadline=None)
sigmas = st.floats(0.1, 64)
seeds = st.integers(0, 10_000)
tried = st.sampled_from(FILTERS_TRIED)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def matrix(filter_, height: int, width: int) -> Tensor:
    """The dense matrix of a filter on (1, height, width), a column for each pixel."""
    pixels = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    return filter_.apply(pixels).flatten(1).T


def close(a: Tensor, b: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


# ------------------------------------------------------------------------------------- what every filter is


@quick
@given(filter_=tried, seed=seeds, side=st.sampled_from([16, 32, 64, 128]))
def test_a_filter_and_its_complement_are_the_whole(filter_, seed, side):
    x = normal(2, 3, side, side, seed=seed).clamp(-1, 1)
    part, rest = filter_.apply(x), filter_.complement().apply(x)
    assert part.shape == x.shape
    close(part + rest, x)
    assert filter_.complement().complement() == filter_


@quick
@given(filter_=tried, seed=seeds, a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_filters_are_linear_and_treat_pictures_alike(filter_, seed, a, b):
    x, y = normal(2, 3, 48, 48, seed=seed), normal(2, 3, 48, 48, seed=seed + 1)
    close(filter_.apply(a * x + b * y), a * filter_.apply(x) + b * filter_.apply(y), atol=1e-5)
    close(filter_.apply(x)[1:], filter_.apply(x[1:]))


@quick
@given(
    widths=st.lists(sigmas, min_size=1, max_size=5, unique=True),
    seed=seeds,
    side=st.sampled_from([28, 64, 96]),
)
def test_bands_sum_to_the_identity(widths, seed, side):
    parts, x = bands(widths), normal(1, 3, side, side, seed=seed).clamp(-1, 1)
    assert len(parts) == len(widths) + 1
    close(sum(part.apply(x) for part in parts), x)


def test_bands_are_low_between_and_high():
    assert bands([2]) == (LowPass(2), HighPass(2))
    assert bands([1, 2]) == bands((2, 1)) == (LowPass(2), Band(1, 2), HighPass(1))
    assert bands([4, 1, 2]) == (LowPass(4), Band(2, 4), Band(1, 2), HighPass(1))


@pytest.mark.parametrize("filter_", FILTERS_TRIED, ids=str)
def test_filters_keep_the_dtype_and_leave_the_picture(filter_):
    for dtype in (torch.float32, torch.float64):
        x = normal(1, 3, 32, 32, dtype=dtype)
        before = x.clone()
        part = filter_.apply(x)
        assert part.dtype == dtype
        part.add_(1)
        assert torch.equal(x, before)


# --------------------------------------------------------------------------------------------- low and high


@quick
@given(sigma=sigmas, value=st.floats(-1, 1), height=st.integers(3, 70), width=st.integers(3, 70))
def test_low_pass_keeps_constants_and_the_mean(sigma, value, height, width):
    flat = torch.full((1, 1, height, width), value)
    close(LowPass(sigma).apply(flat), flat)
    x = normal(1, 1, height, width)
    close(LowPass(sigma).apply(x).mean(), x.mean(), atol=1e-5)


@pytest.mark.parametrize(
    "filter_", [LowPass(2), LowPass(40), HighPass(3), Band(1, 2), Motion(), Motion(110, 15), Still()]
)
def test_symmetric_matrices_also_at_the_border(filter_):
    m = matrix(filter_, 18, 14)
    close(m, m.T, atol=1e-12)


def direct(x: Tensor, sigma: float, reach: int) -> Tensor:
    """A 2-D convolution of a picture (H, W) with a Gaussian, mirrored at the edges, the plain way."""
    height, width = x.shape
    offsets = range(-reach, reach + 1)
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * sigma**2)) for i in offsets for j in offsets}
    total = sum(weights.values())
    mirrored = torch.cat([x.flip(0), x, x.flip(0)], 0)
    mirrored = torch.cat([mirrored.flip(1), mirrored, mirrored.flip(1)], 1)
    out = torch.zeros_like(x)
    for (i, j), weight in weights.items():
        top, left = height + i, width + j
        out += weight / total * mirrored[top : top + height, left : left + width]
    return out


@pytest.mark.parametrize(
    ("sigma", "height", "width", "pixels", "reach"),
    [
        (2, 64, 64, 2, 16),
        (1, 64, 40, 1, 16),
        (2, 96, 96, 3, 24),  #     all lengths grow with the height: 1.5 times
        (2, 32, 48, 1, 8),
        (5, 64, 64, 5, 20),  #     wide ones reach 4 sigma
    ],
)
def test_low_pass_is_a_convolution(sigma, height, width, pixels, reach):
    x = normal(1, 1, height, width, dtype=torch.float64)
    close(LowPass(sigma).apply(x)[0, 0], direct(x[0, 0], pixels, reach), atol=1e-12)


@quick
@given(sigma=st.floats(1.5, 8), k=st.integers(0, 16), scale=st.sampled_from([1, 2, 4]))
def test_waves_are_attenuated_as_the_gaussian_says(sigma, k, scale):
    side = 64 * scale
    w = math.pi * k / side  #                                                   per pixel
    wave = torch.cos(w * (torch.arange(side, dtype=torch.float64) + 0.5)).expand(1, 1, side, side)
    expected = math.exp(-((sigma * scale * w) ** 2) / 2)
    for x in (wave, wave.mT):
        close(LowPass(sigma).apply(x), expected * x, atol=2e-4)
        close(HighPass(sigma).apply(x), (1 - expected) * x, atol=2e-4)


@pytest.mark.parametrize("sigma", [0.5, 1, 2, 8, 64])
def test_low_pass_lets_less_through_the_higher_the_frequency(sigma):
    side, gains = 64, []
    for k in range(24):
        wave = torch.cos(math.pi * k / side * (torch.arange(side, dtype=torch.float64) + 0.5)).expand(
            1, 1, side, side
        )
        gains.append(float((LowPass(sigma).apply(wave) * wave).sum() / (wave * wave).sum()))
    assert gains[0] == pytest.approx(1)
    assert all(lower >= higher - 1e-3 for lower, higher in pairwise(gains))


def test_the_limits_of_sigma():
    x = normal(1, 1, 64, 64)
    close(LowPass(0.05).apply(x), x)
    close(LowPass(1e-200).apply(x), x)
    close(LowPass(64).apply(x), x.mean().expand_as(x), atol=0.05)


def test_low_pass_at_256_is_that_of_64_for_smooth_pictures():
    def smooth(side: int) -> Tensor:
        y = (torch.arange(side) + 0.5) / side
        return (torch.cos(math.pi * 3 * y)[:, None] * torch.cos(math.pi * 5 * y))[None, None]

    fine = LowPass(2).apply(smooth(256)).view(1, 1, 64, 4, 64, 4).mean((3, 5))
    close(fine, LowPass(2).apply(smooth(64)), atol=0.01)


# ------------------------------------------------------------------------------------------ grey and colour


def test_grey_and_colour():
    x = normal(2, 3, 8, 8)
    mean = (x[:, 0] + x[:, 1] + x[:, 2]) / 3
    for c in range(3):
        close(Grey().apply(x)[:, c], mean)
        close(Colour().apply(x)[:, c], x[:, c] - mean)
    grey = mean[:, None].expand(2, 3, 8, 8)
    close(Colour().apply(grey), torch.zeros_like(grey))
    close(Grey().apply(Colour().apply(x)), torch.zeros_like(x))
    assert Grey().complement() == Colour()
    assert Colour().complement() == Grey()


# --------------------------------------------------------------------------------------------------- motion


def impulse(side: int) -> Tensor:
    x = torch.zeros(1, 1, side, side)
    x[..., side // 2, side // 2] = 1
    return x


def test_motion_draws_a_diagonal_of_seven_pixels():
    spread = Motion().apply(impulse(64))[0, 0]
    expected = torch.zeros(64, 64)
    for k in range(-3, 4):
        expected[32 + k, 32 + k] = 1 / 7
    close(spread, expected)
    close(Motion(135).apply(impulse(64))[0, 0].roll(-1, 1), expected.flip(1))


@pytest.mark.parametrize(("side", "pixels"), [(64, 7), (256, 29), (28, 3)])
def test_motion_grows_with_the_picture(side, pixels):
    assert (Motion(0).apply(impulse(side))[0, 0] > 0).nonzero()[:, 1].unique().numel() == pixels
    assert (Motion(90).apply(impulse(side))[0, 0] > 0).nonzero()[:, 0].unique().numel() == pixels


@quick
@given(angle=st.floats(0, 180, exclude_max=True), length=st.floats(2, 20))
def test_motion_is_symmetric_keeps_sums_and_follows_its_angle(angle, length):
    spread = Motion(angle, length).apply(impulse(65))[0, 0].double()
    close(spread, spread.flip(0, 1))
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    assert float(spread.min()) >= 0
    down = torch.arange(-32.0, 33, dtype=torch.float64)[:, None]
    right = torch.arange(-32.0, 33, dtype=torch.float64)
    a = math.radians(angle)
    off_the_line = (down * math.cos(a) - right * math.sin(a)).abs()
    assert float(off_the_line[spread > 1e-6].max()) < 1
    flat = torch.full((1, 2, 20, 30), 0.7)
    close(Motion(angle, length).apply(flat), flat)


def test_motion_and_still():
    assert Motion(30, 9).complement() == Still(30, 9)
    assert Still().complement() == Motion()


# ---------------------------------------------------------------------------------------------------- masks


def test_a_mask_weighs_pixels():
    x = normal(2, 3, 16, 16)
    assert torch.equal(Mask(DISC).apply(x), torch.where(DISC > 0, x, 0.0))
    assert torch.equal((~Mask(DISC)).apply(x), torch.where(DISC > 0, 0.0, x))
    close(Mask(SOFT).apply(x), SOFT * x)
    assert torch.equal(Mask(DISC.bool()).apply(x), Mask(DISC).apply(x))


def test_masks_of_other_sizes():
    x = torch.ones(1, 1, 64, 64)
    enlarged = DISC.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert torch.equal(Mask(DISC).apply(x)[0, 0], enlarged)
    small = SOFT.view(1, 1, 4, 4, 4, 4).mean((3, 5))
    close(Mask(SOFT).apply(torch.ones(1, 1, 4, 4)), small)
    for side in (4, 10, 24, 64):
        whole = Mask(SOFT).apply(x[..., :side, :side]) + (~Mask(SOFT)).apply(x[..., :side, :side])
        close(whole, torch.ones(1, 1, side, side))


def test_masks_are_equal_by_content():
    first, again = Mask(DISC), Mask(DISC[None, None].double())
    assert first == again
    assert hash(first) == hash(again)
    assert first.sha256 == again.sha256
    assert first != ~first
    assert ~~first == first
    assert first.complement() == ~first
    assert first != Mask(SOFT)
    assert (~first).outside
    assert torch.equal((~first).tensor, first.tensor)
    assert str(~first) == f"~mask:sha256={first.sha256}"
    mine = DISC.clone()
    held = Mask(mine)
    mine.zero_()  # not shared
    assert held == first
    assert torch.equal(held.tensor[0, 0], DISC)


# ---------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("filter_", FILTERS_TRIED[:-2], ids=str)
def test_text_round_trip(filter_):
    for f in (filter_, filter_.complement()):
        assert make_filter(str(f)) == f
        assert hash(make_filter(str(f))) == hash(f)


@quick
@given(low=sigmas, high=sigmas)
def test_every_sigma_survives_its_text(low, high):
    assert make_filter(str(LowPass(low))) == LowPass(low)
    if low < high:
        assert make_filter(str(Band(low, high))) == Band(low, high)


def test_texts_as_written():
    assert str(LowPass(2.0)) == str(LowPass(2)) == "low_pass:sigma=2"
    assert str(Band(1, 2.5).complement()) == "~band:low=1,high=2.5"
    assert make_filter("~low_pass:sigma=2") == HighPass(2)
    assert make_filter("~band:low=1,high=2") == Complement(Band(1, 2))
    assert list(FILTERS) == ["low_pass", "high_pass", "band", "grey", "colour", "motion", "still"]
    assert all(f.description and "\n" not in f.description for f in FILTERS.values())


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sharpen", "there is no filter 'sharpen'; the filters are: low_pass, high_pass, band, grey, colour"),
        ("low_pass", "the filter low_pass needs sigma, as in low_pass:sigma=2"),
        ("band:low=1", "the filter band needs high, as in band:high=2"),
        ("low_pass:sigma=0", r"sigma of low_pass must lie in \(0, 64\], pixels at a height of 64, not 0"),
        ("high_pass:sigma=-1", r"sigma of high_pass must lie in \(0, 64\].* not -1"),
        ("low_pass:sigma=65", r"sigma of low_pass must lie in \(0, 64\].* not 65"),
        ("low_pass:sigma=nan", "sigma of low_pass must be a finite number, not nan"),
        ("band:low=1,high=inf", "high of band must be a finite number, not inf"),
        ("band:low=2,high=2", "band needs sigmas low < high, not 2 and 2"),
        ("band:low=2,high=1", "band needs sigmas low < high, not 2 and 1"),
        ("low_pass:radius=2", "the filter low_pass has no option 'radius=2': it takes sigma"),
        ("low_pass:sigma=two", "sigma of the filter low_pass must be a number, not 'two'"),
        ("motion:angle=180", r"angle of motion lies in \[0, 180\) degrees, not 180"),
        ("still:angle=-1", r"angle of still lies in \[0, 180\) degrees, not -1"),
        ("motion:length=1", r"length of motion lies in \[2, 64\] pixels at a height of 64, not 1"),
        ("motion:length=nan", "length of motion must be a finite number, not nan"),
        ("grey:x=1", "the filter grey has no option 'x=1': it takes none"),
    ],
)
def test_bad_texts(text, message):
    with pytest.raises(UsageError, match=message) as raised:
        make_filter(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("widths", [[], [1, 1], [2, 1, 2.0]])
def test_bad_bands(widths):
    with pytest.raises(UsageError, match="bands need at least one sigma and no two the same"):
        bands(widths)


def test_bad_sigmas_of_bands():
    with pytest.raises(UsageError, match=r"each sigma of bands must lie in \(0, 64\]"):
        bands([1, 0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.full((4, 4), 1.5), r"the values of a mask lie in \[0, 1\], not from 1.5 to 1.5"),
        (torch.full((4, 4), -0.5), r"lie in \[0, 1\], not from -0.5 to -0.5"),
        (torch.full((4, 4), math.nan), r"lie in \[0, 1\], not from nan to nan"),
        (torch.zeros(3, 4, 4), r"a mask has the shape \(1, 1, H, W\) or \(H, W\), not \(3, 4, 4\)"),
        (torch.zeros(4), r"a mask has the shape \(1, 1, H, W\) or \(H, W\), not \(4,\)"),
        (torch.zeros(0, 4), r"a mask has the shape \(1, 1, H, W\) or \(H, W\), not \(0, 4\)"),
    ],
)
def test_bad_masks(values, message):
    with pytest.raises(UsageError, match=message):
        Mask(values)


def test_a_mask_of_another_shape():
    with pytest.raises(UsageError, match="a mask of 16 x 16 pixels does not fit a picture of 64 x 32"):
        Mask(DISC).apply(normal(1, 3, 32, 64))


@pytest.mark.parametrize("filter_", [Grey(), Colour()])
def test_colour_needs_channels(filter_):
    with pytest.raises(
        UsageError, match=f"{filter_.name} needs a picture in colour; this one has a single channel"
    ):
        filter_.apply(normal(1, 1, 8, 8))


# ---------------------------------------------------------------------------------------------------- traps


def test_a_filter_first_used_in_inference_mode_can_be_differentiated_later():
    low = LowPass(3.21)
    with torch.inference_mode():
        low.apply(normal(1, 1, 8, 8))
    x, g = normal(1, 1, 8, 8).requires_grad_(), normal(1, 1, 8, 8, seed=1)
    (low.apply(x) * g).sum().backward()
    close(x.grad, low.apply(g))  # since it is symmetric

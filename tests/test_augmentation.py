"""Pictures that are moved and tinted, and the components that describe it."""

import math

import pytest
import torch
from torch import Tensor

from sfumato.training.augmentation import LARGEST, ROWS, SMALLEST, TOLD, TURN, augmented, table

SCALE, COSINE, SINE, RIGHT, DOWN, MIRROR, SHEAR, LIGHT, HUE, HUE_SINE = range(TOLD)
ORANGE = (0.6, 0.1, -0.4)


def told(**values: float) -> Tensor:
    row = torch.zeros(1, TOLD)
    for name, value in values.items():
        row[0, globals()[name]] = value
    return row


def bar() -> Tensor:
    """An orange bar, long and flat, above and left of the middle of 64 x 64 white pixels."""
    x = torch.ones(1, 3, 64, 64)
    x[0, :, 20:26, 10:40] = torch.tensor(ORANGE)[:, None, None]
    return x


def middle(x: Tensor) -> tuple[float, float]:
    """Where the ink is, right and down from the middle, in halves of the picture."""
    ink, at = (1 - x[0]).sum(0), (torch.arange(64) + 0.5) / 32 - 1
    return float((ink.sum(0) * at).sum() / ink.sum()), float((ink.sum(1) * at).sum() / ink.sum())


def test_the_first_row_changes_nothing_and_the_others_keep_within_their_bounds() -> None:
    changes = table()
    assert changes.shape == (ROWS, TOLD)
    assert not changes[0].any()
    assert torch.equal(table(), changes)
    sizes = changes[:, SCALE].exp()
    assert SMALLEST - 1e-6 <= float(sizes.min()) < SMALLEST + 0.02
    assert LARGEST - 0.02 < float(sizes.max()) <= LARGEST + 1e-6
    assert math.sin(TURN) - 0.02 < float(changes[:, SINE].max()) <= math.sin(TURN) + 1e-6
    assert torch.allclose((changes[:, COSINE] + 1) ** 2 + changes[:, SINE] ** 2, torch.ones(ROWS))
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    assert torch.equal(augmented(x, torch.zeros(3, TOLD)), x)


def test_mirrored_is_flipped() -> None:
    assert torch.allclose(augmented(bar(), told(MIRROR=1)), bar().flip(-1), atol=1e-5)


def test_shifted_goes_right_and_down_by_so_much() -> None:
    (x, y), (u, v) = middle(bar()), middle(augmented(bar(), told(RIGHT=0.25, DOWN=0.125)))
    assert (u - x, v - y) == pytest.approx((0.25, 0.125), abs=1e-3)


def test_smaller_has_less_ink_in_the_square_of_the_scale_nearer_to_the_middle() -> None:
    small = augmented(bar(), told(SCALE=math.log(0.5)))
    assert float((1 - small).sum() / (1 - bar()).sum()) == pytest.approx(0.25, abs=0.01)
    assert middle(small) == pytest.approx(tuple(0.5 * at for at in middle(bar())), abs=0.01)


def test_turned_by_a_quarter_is_turned() -> None:
    turned = augmented(bar(), told(COSINE=-1, SINE=1))
    assert any(torch.allclose(turned, bar().rot90(k, (2, 3)), atol=1e-4) for k in (1, 3))


def test_sheared_keeps_its_height_and_its_ink() -> None:
    sheared = augmented(bar(), told(SHEAR=0.3))
    assert float((1 - sheared).sum() / (1 - bar()).sum()) == pytest.approx(1, abs=0.01)
    assert middle(sheared)[1] == pytest.approx(middle(bar())[1], abs=1e-3)
    assert middle(sheared)[0] != pytest.approx(middle(bar())[0], abs=0.05)


def test_tints_leave_white_white_and_hue_keeps_luma() -> None:
    angle = 0.4
    tinted = augmented(bar(), told(HUE=math.cos(angle) - 1, HUE_SINE=math.sin(angle)))
    paler = augmented(bar(), told(LIGHT=-0.25))
    luma = torch.tensor([0.299, 0.587, 0.114])
    for changed in (tinted, paler):
        assert torch.allclose(changed[..., 50, 50], torch.ones(1, 3), atol=1e-5)
        assert not torch.allclose(changed[..., 22, 20], bar()[..., 22, 20], atol=0.1)
    assert float(tinted[0, :, 22, 20] @ luma) == pytest.approx(float(bar()[0, :, 22, 20] @ luma), abs=0.01)
    assert torch.allclose(1 - paler[0, :, 22, 20], 0.75 * (1 - torch.tensor(ORANGE)), atol=1e-4)


def test_each_picture_is_changed_by_its_own_row() -> None:
    rows = torch.cat([told(MIRROR=1), torch.zeros(1, TOLD), told(RIGHT=0.25)])
    both = augmented(bar().expand(3, -1, -1, -1), rows)
    for i in range(3):
        assert torch.allclose(both[i : i + 1], augmented(bar(), rows[i : i + 1]), atol=1e-6)

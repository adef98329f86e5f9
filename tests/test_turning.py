"""A view on its way, and a picture from afar: what is exact at the ends, and what is kept in between."""

import pytest
import torch

from sfumato.core.views import VIEWS, make_view
from sfumato.errors import UsageError
from sfumato.pictures.turning import from_afar, turned

PICTURE = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


@pytest.mark.parametrize("name", VIEWS)
def test_the_ends_are_the_picture_and_its_view(name: str) -> None:
    view = make_view(name)
    assert torch.equal(turned(PICTURE, view, 0), PICTURE)
    assert torch.equal(turned(PICTURE, view, 1), view.forward(PICTURE[None])[0])
    large = turned(PICTURE, view, 1, enlarge=3)
    assert torch.equal(large[:, ::3, ::3], view.forward(PICTURE[None])[0])
    for share in (0.25, 0.5, 0.8):
        between = turned(PICTURE, view, share, enlarge=2)
        assert between.shape == (3, 32, 32)
        assert torch.isfinite(between).all()
        assert between.abs().max() <= 1


def test_a_turn_turns() -> None:
    spot = torch.full((1, 33, 33), 1.0)
    spot[:, 14:19, 26:31] = -1  # to the right of the middle
    halfway = turned(spot, make_view("rotate_cw"), 0.5)  # 45 degrees clockwise: right and down
    assert halfway[0, 23:27, 23:27].mean() < -0.5
    halfway = turned(spot, make_view("rotate_ccw"), 0.5)
    assert halfway[0, 6:10, 23:27].mean() < -0.5
    halfway = turned(spot, make_view("rotate_180"), 0.5)
    assert halfway[0, 2:7, 14:19].mean() < -0.5


def test_a_flip_passes_through_its_edge() -> None:
    edge = turned(PICTURE, make_view("flip"), 0.5)
    assert int((edge[0] != 1).any(1).sum()) == 1
    assert int((turned(PICTURE, make_view("mirror"), 0.5)[0] != 1).any(0).sum()) == 1


def test_pixels_that_move_are_pixels_of_the_picture() -> None:
    between = turned(PICTURE, make_view("patch_permute"), 0.5)
    known = set(PICTURE[0].flatten().tolist()) | {1.0}
    assert set(between[0].flatten().tolist()) <= known


def test_from_afar_is_smaller_by_that_factor() -> None:
    assert torch.allclose(from_afar(PICTURE, 1), PICTURE, atol=1 / 127)
    far = from_afar(PICTURE, 4)
    means = PICTURE.unfold(1, 4, 4).unfold(2, 4, 4).mean((-1, -2))
    torch.testing.assert_close(far[:, 6:10, 6:10], means, atol=0.03, rtol=0)
    assert (far[:, :6] == 1).all()


def test_what_is_no_share_and_no_distance() -> None:
    with pytest.raises(UsageError, match="share"):
        turned(PICTURE, make_view("flip"), 1.5)
    with pytest.raises(UsageError, match="distance"):
        from_afar(PICTURE, 0.5)
    with pytest.raises(UsageError):
        turned(torch.zeros(1, 16, 20), make_view("rotate_cw"), 0.5)

"""Ways from a picture to how it is looked at: a view on its way, and a picture seen from further off.

For the eye alone: what lies between the ends is no view, and nothing is sampled through it.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from sfumato.core.views import (
    Flip,
    Mirror,
    Rotate180,
    RotateClockwise,
    RotateCounterclockwise,
    View,
)
from sfumato.core.views.base import Permutation
from sfumato.errors import UsageError
from sfumato.pictures.grid import enlarge_pixels
from sfumato.pictures.read import to_tensor
from sfumato.pictures.write import to_image

_DEGREES = {RotateClockwise: -90.0, RotateCounterclockwise: 90.0, Rotate180: 180.0}  # counterclockwise
_WHOLE = (Flip, Mirror, *_DEGREES)  # what moves as one piece
BACKGROUND = 1.0  # white


def turned(x: Tensor, view: View, share: float, *, enlarge: int = 1) -> Tensor:
    """A picture (C, H, W) in [-1, 1] on its way to V x: share 0 is the picture, 1 is V x exactly.

    Turns turn, reflections tip over, what moves pixels moves them along straight lines, the rest fades. What
    is uncovered is white. enlarge: each pixel becomes so many wide, before it turns. Raises UsageError for a
    share outside [0, 1] and as the view does.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"a share is a number from 0 to 1, not {share}")
    if isinstance(view, Permutation) and not isinstance(view, _WHOLE) and 0 < share < 1:
        return enlarge_pixels(_moved(x, view.index(*x.shape[-2:]), share), enlarge)
    end = enlarge_pixels(view.forward(x[None])[0], enlarge)
    x = enlarge_pixels(x, enlarge)
    if share in (0, 1):
        return end if share else x
    if type(view) in _DEGREES:
        return _rotated(x, share * _DEGREES[type(view)])
    if isinstance(view, Flip | Mirror):
        return _tipped(
            x if share < 0.5 else end, abs(math.cos(math.pi * share)), upright=isinstance(view, Flip)
        )
    return (1 - share) * x + share * end


def from_afar(x: Tensor, distance: float) -> Tensor:
    """A picture (C, H, W) as it looks `distance` times as far away: smaller, on white of its own size."""
    if not distance >= 1:
        raise UsageError(f"a distance is a number from 1 up, not {distance}")
    height, width = x.shape[-2:]
    size = (max(1, round(width / distance)), max(1, round(height / distance)))
    small = to_tensor(to_image(x).resize(size, Image.Resampling.BOX))[0]
    return _centred(small, height, width)


def _rotated(x: Tensor, degrees: float) -> Tensor:
    image = to_image(x)
    white = 255 if image.mode == "L" else (255, 255, 255)
    return to_tensor(image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=white))[0]


def _tipped(x: Tensor, share: float, *, upright: bool) -> Tensor:
    height, width = x.shape[-2:]
    tall, wide = (max(1, round(share * height)), width) if upright else (height, max(1, round(share * width)))
    return _centred(to_tensor(to_image(x).resize((wide, tall), Image.Resampling.BOX))[0], height, width)


def _centred(x: Tensor, height: int, width: int) -> Tensor:
    canvas = torch.full((x.shape[0], height, width), BACKGROUND)
    top, left = (height - x.shape[-2]) // 2, (width - x.shape[-1]) // 2
    canvas[:, top : top + x.shape[-2], left : left + x.shape[-1]] = x
    return canvas


def _moved(x: Tensor, index: Tensor, share: float) -> Tensor:
    """Every pixel of V x on the straight line from where it was; of two at one place the later one shows."""
    _, height, width = x.shape
    there = torch.arange(height * width)
    rows = ((1 - share) * (index.flatten() // width) + share * (there // width)).round().long()
    columns = ((1 - share) * (index.flatten() % width) + share * (there % width)).round().long()
    canvas = torch.full((x.shape[0], height * width), BACKGROUND)
    canvas[:, rows * width + columns] = x.flatten(1)[:, index.flatten()]
    return canvas.reshape(x.shape)

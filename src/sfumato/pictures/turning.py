"""Pictures between a picture and its view, and a picture seen from further away.

They are for display only: they are no views, and nothing is sampled through them.
"""

import math

import torch
from PIL import Image
from torch import Tensor

from sfumato.core.views import Flip, Mirror, Rotate180, RotateClockwise, RotateCounterclockwise, View
from sfumato.core.views.base import Permutation
from sfumato.errors import UsageError
from sfumato.pictures.grid import enlarge_pixels
from sfumato.pictures.read import to_tensor
from sfumato.pictures.write import to_image

_DEGREES = {RotateClockwise: -90.0, RotateCounterclockwise: 90.0, Rotate180: 180.0}  # counterclockwise
_WHOLE = (Flip, Mirror, *_DEGREES)  # these move the picture as one piece
BACKGROUND = 1.0  # white


def turned(x: Tensor, view: View, share: float, *, enlarge: int = 1) -> Tensor:
    """A picture (C, H, W) in [-1, 1] on its way to V x: share 0 is the picture, share 1 is exactly V x.

    A rotation turns the picture, a reflection tips it over, another permutation moves its pixels along
    straight lines; other views fade. Uncovered pixels are white. enlarge: the size of a pixel, before the
    picture turns. Raises UsageError for a share outside [0, 1] and as the view does.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share {share}: give a number from 0 to 1")
    if isinstance(view, Permutation) and not isinstance(view, _WHOLE) and 0 < share < 1:
        return enlarge_pixels(_moved(x, view.index(*x.shape[-2:]), share), enlarge)
    end = enlarge_pixels(view.forward(x[None])[0], enlarge)
    x = enlarge_pixels(x, enlarge)
    if share in (0, 1):
        return end if share else x
    if type(view) in _DEGREES:
        degrees = share * _DEGREES[type(view)]
        return to_tensor(to_image(x).rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white"))[0]
    if isinstance(view, Flip | Mirror):
        side, narrowing = (x if share < 0.5 else end), abs(math.cos(math.pi * share))
        height, width = x.shape[-2:]
        upright = isinstance(view, Flip)
        return _shrunk(side, height * (narrowing if upright else 1), width * (1 if upright else narrowing))
    return (1 - share) * x + share * end


def from_afar(x: Tensor, distance: float) -> Tensor:
    """A picture (C, H, W) as it looks `distance` times as far away: smaller, on white of its own size."""
    if not distance >= 1:
        raise UsageError(f"distance {distance}: give a number of at least 1")
    height, width = x.shape[-2:]
    return _shrunk(x, height / distance, width / distance)


def _shrunk(x: Tensor, height: float, width: float) -> Tensor:
    """The picture at a smaller size, in the middle of white of its own size."""
    size = (max(1, round(width)), max(1, round(height)))
    small = to_tensor(to_image(x).resize(size, Image.Resampling.BOX))[0]
    canvas = torch.full(x.shape, BACKGROUND)
    top, left = (x.shape[-2] - small.shape[-2]) // 2, (x.shape[-1] - small.shape[-1]) // 2
    canvas[:, top : top + small.shape[-2], left : left + small.shape[-1]] = small
    return canvas


def _moved(x: Tensor, index: Tensor, share: float) -> Tensor:
    """Every pixel on the line from its place in x to its place in V x; a later one hides an earlier one."""
    _, height, width = x.shape
    there = torch.arange(height * width)
    rows = ((1 - share) * (index.flatten() // width) + share * (there // width)).round().long()
    columns = ((1 - share) * (index.flatten() % width) + share * (there % width)).round().long()
    canvas = torch.full((x.shape[0], height * width), BACKGROUND)
    canvas[:, rows * width + columns] = x.flatten(1)[:, index.flatten()]
    return canvas.reshape(x.shape)

"""A part of a picture that is made again by a model of small pictures, and laid back at the full size.

Contract: a box (top, left, height, width) lies within the picture, in its pixels. Outside the mask the pixels
of the picture stay exactly as they were read. Each pixel of the model's that the mask touches is made.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.pictures.given import PictureSource
from sfumato.pictures.read import Convention, read_mask, read_picture, to_tensor
from sfumato.pictures.write import to_image, to_uint8

Box = tuple[int, int, int, int]
CONTEXT = 0.5  # of the mask's height and width, on each side of it


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A picture and what of it is made again.

    pixels  (C, H, W) uint8
    mask    (H, W) bool, True where pixels are made
    box     the part that a model sees
    """

    pixels: Tensor
    mask: Tensor
    box: Box

    def part(self, size: tuple[int, int], channels: int) -> tuple[Tensor, Tensor]:
        """What a model of this size (h, w) is given: (1, C, h, w) in [-1, 1], and a mask (1, 1, h, w)."""
        return picture_part(self.pixels, self.box, size, channels), mask_part(self.mask, self.box, size)

    def around(self, x: Tensor) -> Tensor:
        """Made pictures (N, C, h, w) in [-1, 1], each laid into the picture: (N, C', H, W)."""
        size = self.box[2:]
        if x.shape[-2:] != size:
            x = F.interpolate(x.float(), size, mode="bicubic", antialias=True).clamp(-1, 1)
        whole = self.pixels.float() / 127.5 - 1
        channels = max(len(whole), x.shape[1])
        whole = whole.expand(len(x), channels, -1, -1).clone()
        part = _in_box(whole, self.box)
        part.copy_(torch.where(_in_box(self.mask, self.box), x, part))
        return whole


def read_surroundings(
    picture: PictureSource,
    mask: PictureSource,
    size: tuple[int, int],
    *,
    convention: Convention = "white",
    crop_to_mask: bool = False,
) -> Surroundings:
    """A picture and its mask, and the part for a model of this size (h, w).

    The part is the largest that holds the mask, in the middle where it can be; with crop_to_mask it is the
    mask and what surrounds it.

    Raises:
        UsageError: as `read_picture` and `read_mask`; a mask that no part of the model's shape holds.
    """
    pixels = read_pixels(picture)
    inside = read_inside(mask, convention, (pixels.shape[-2], pixels.shape[-1]))
    return Surroundings(pixels, inside, box_around(inside, size, close=crop_to_mask))


def read_pixels(picture: PictureSource) -> Tensor:
    """A picture at its own size, (C, H, W) uint8."""
    return to_uint8(read_picture(picture)[0])


def read_inside(mask: PictureSource, convention: Convention, size: tuple[int, int]) -> Tensor:
    """A mask for a picture of this size (H, W), (H, W) bool: True where pixels are made."""
    return read_mask(mask, convention=convention, size=size)[0, 0] > 0.5


def picture_part(pixels: Tensor, box: Box, size: tuple[int, int], channels: int) -> Tensor:
    """The part of a picture (C, H, W) uint8 at a model's size (h, w), (1, channels, h, w) in [-1, 1]."""
    image = to_image(_in_box(pixels, box) / 127.5 - 1).convert("L" if channels == 1 else "RGB")
    return to_tensor(image.resize(size[::-1], Image.Resampling.LANCZOS))


def mask_part(mask: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """The part of a mask (H, W) bool at a model's size (h, w), (1, 1, h, w): 1 where it touches a pixel."""
    return F.adaptive_max_pool2d(_in_box(mask, box)[None, None].float(), size)


def box_around(mask: Tensor, shape: tuple[int, int], *, close: bool = False) -> Box:
    """A part with the shape of (h, w) that holds a mask (H, W) bool.

    It is the largest, in the middle where it can be. close: it is the mask with some CONTEXT, h x w pixels at
    least.

    Raises:
        UsageError: no part of that shape holds the mask.
    """
    (height, width), (h, w) = mask.shape, shape
    rows, columns = (mask.any(dim).nonzero()[:, 0].tolist() for dim in (1, 0))
    high, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    box_height, box_width = min(height, max(1, width * h // w)), min(width, max(1, height * w // h))
    if high > box_height or wide > box_width:
        raise UsageError(
            f"the mask spans {wide} x {high} pixels, and the model draws a part of {box_width} x "
            f"{box_height} at most: paint a smaller mask, or crop the picture"
        )
    top, left = (height - box_height) // 2, (width - box_width) // 2
    if close:
        scale = max((1 + 2 * CONTEXT) * max(high / h, wide / w), 1.0)
        box_height, box_width = min(box_height, round(scale * h)), min(box_width, round(scale * w))
        top, left = rows[0] - (box_height - high) // 2, columns[0] - (box_width - wide) // 2
    top = _within(top, rows[-1] + 1 - box_height, rows[0])
    left = _within(left, columns[-1] + 1 - box_width, columns[0])
    return _within(top, 0, height - box_height), _within(left, 0, width - box_width), box_height, box_width


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _in_box(x: Tensor, box: Box) -> Tensor:
    """The part of x (..., H, W) in a box; UsageError where it does not lie in x."""
    top, left, height, width = box
    if top + height > x.shape[-2] or left + width > x.shape[-1]:
        raise UsageError(f"the box {box} does not lie in a picture of {x.shape[-1]} x {x.shape[-2]} pixels")
    return x[..., top : top + height, left : left + width]

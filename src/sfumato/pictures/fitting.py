"""Pictures and masks brought to another size: what is cut off, what is padded, what of a mask survives.

"top", the rule by default: a picture that is too wide loses both sides alike; one that is too tall loses its
lower part, because in a portrait the head is above. "crop" loses both ends alike in either direction. "pad"
loses nothing: white fills what is left, and a mask marks none of it.
"""

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from sfumato.errors import UsageError

Fit = Literal["crop", "top", "pad"]
Box = tuple[float, float, float, float]  # left, top, right, bottom
FIT: Fit = "top"


def fitted(image: Image.Image, size: tuple[int, int], fit: Fit, method: Image.Resampling) -> Image.Image:
    """The picture, in mode L, RGB or F, at a size (H, W)."""
    if fit == "pad":
        white = 0 if image.mode == "F" else "white"  # F: a mask, see below
        return ImageOps.pad(image, size[::-1], method, color=white)
    return image.resize(size[::-1], method, box=kept_box(image.size, size, fit))


def kept_box(own: tuple[int, int], size: tuple[int, int], fit: Fit) -> Box:
    """What of a picture of (W, H) is kept at a size (H, W)."""
    (width, height), (rows, columns) = own, size
    if fit == "pad" or width * rows == height * columns:
        return (0, 0, width, height)
    if width * rows > height * columns:
        kept = height * columns / rows
        left = (width - kept) / 2
        return (left, 0, left + kept, height)
    kept = width * rows / columns
    top = 0 if fit == "top" else (height - kept) / 2
    return (0, top, width, top + kept)


def check_fit(fit: str) -> None:
    """UsageError for a rule that there is none of."""
    if fit not in get_args(Fit):
        raise UsageError(f"fit {fit!r}: give {', '.join(get_args(Fit))}")


def reduced_mask(marked: Image.Image, size: tuple[int, int], fit: Fit, *, thin: bool) -> Tensor:
    """A mask of 0 and 255 (mode L) at a size (H, W) -> bool (H, W).

    A pixel is marked where at least half of its area is. thin: what would be lost by that, being thinner than
    a pixel, stays: a pixel is also marked where a part of it is, and no pixel beside it is by half.
    """
    whole = marked.convert("F")
    share = np.asarray(fitted(whole, size, fit, Image.Resampling.BOX))  # 0 .. 255
    half = torch.from_numpy(share >= 127.5)  # (H, W)
    if not thin:
        return half
    touched = torch.from_numpy(share > 0)
    beside = F.max_pool2d(half[None].float(), 3, stride=1, padding=1)[0] > 0
    return half | (touched & ~beside)


def sides_lost(marked: Image.Image, size: tuple[int, int], fit: Fit) -> list[str]:
    """The sides on which something that a mask marks is cut off."""
    pixels = np.asarray(marked) > 0
    left, top, right, bottom = kept_box(marked.size, size, fit)
    parts = {
        "left": pixels[:, : int(left)],
        "right": pixels[:, int(np.ceil(right)) :],
        "top": pixels[: int(top)],
        "bottom": pixels[int(np.ceil(bottom)) :],
    }
    return [side for side, part in parts.items() if part.any()]

"""Pictures in whatever form a user gives them: a file, a PIL picture, an array or a tensor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.pictures.read import Size, picture_size, read_mask, read_picture

# A path, the bytes of a file, a PIL picture, or an array (H, W) or (H, W, C) of uint8 or of floats in [0, 1]
PictureLike = str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any]


def is_picture_like(value: object) -> bool:
    """Whether a value is a picture in one of the forms of `PictureLike`."""
    return isinstance(value, str | os.PathLike | bytes | Image.Image | np.ndarray)


def check_range(picture: Tensor) -> None:
    """Refuse a tensor picture with values outside [-1, 1]; UsageError says which range was found."""
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -1 and high <= 1):  # also refuses NaN
        raise UsageError(f"a tensor picture has values in [-1, 1]; this one goes from {low:g} to {high:g}")


def picture_of(given: PictureLike, *, size: Size | None, channels: int) -> Tensor:
    """A picture, float32 (1, C, H, W) in [-1, 1], cropped and resized to `size` as `read_picture` does.

    Raises:
        UsageError: as `read_picture`; an array of another shape, type or range.
    """
    return read_picture(_readable(given), size=size, channels=1 if channels == 1 else 3)


def mask_of(given: PictureLike, *, of: PictureLike | tuple[int, int], resize: Size) -> Tensor:
    """A mask, float32 (1, 1, H, W) of 0 and 1, fitted as the picture that it belongs to; white is made anew.

    of: the picture, or its own (H, W).
    """
    size = of if isinstance(of, tuple) else picture_size(_readable(of))
    return read_mask(_readable(given), size=size, resize=resize)


def size_of(given: PictureLike) -> tuple[int, int]:
    """The picture's own (H, W)."""
    return picture_size(_readable(given))


def file_of(given: PictureLike) -> str | None:
    """The path of a picture that is a file; None for the others."""
    return str(Path(given)) if isinstance(given, str | os.PathLike) else None


def _readable(given: PictureLike) -> str | os.PathLike[str] | bytes | Image.Image:
    return _image_of(given) if isinstance(given, np.ndarray) else given


def _image_of(array: np.ndarray[Any, Any]) -> Image.Image:
    """An array as a PIL picture; floats in [0, 1] become 8 bits."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise UsageError(f"an array picture has the shape (H, W) or (H, W, 1, 3 or 4), not {array.shape}")
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype == np.bool_:
        array = array.astype(np.float32)
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating):
            raise UsageError(f"an array picture holds uint8, or floats in [0, 1], not {array.dtype}")
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise UsageError(
                f"an array of floats has values in [0, 1]; this one goes from {low:g} to {high:g}"
            )
        array = np.round(array * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))

"""The forms in which a user gives a picture: a file, a PIL picture, an array or a tensor."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sfumato.errors import UsageError

# A path, the bytes of a file, a PIL picture, or an array (H, W) or (H, W, C) of uint8 or of floats in [0, 1]
PictureSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any]


def is_picture_source(value: object) -> bool:
    """Whether a value is a picture in one of the forms of `PictureSource`."""
    return isinstance(value, str | os.PathLike | bytes | Image.Image | np.ndarray)


def check_range(picture: Tensor) -> None:
    """Refuse a tensor picture with values outside [-1, 1]; UsageError says which range was found."""
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -1 and high <= 1):  # also refuses NaN
        raise UsageError(f"a tensor picture has values in [-1, 1]; this one goes from {low:g} to {high:g}")


def file_of(source: PictureSource) -> str | None:
    """The path of a picture that is a file; None for the others."""
    return str(Path(source)) if isinstance(source, str | os.PathLike) else None


def image_of(array: np.ndarray[Any, Any]) -> Image.Image:
    """An array as a PIL picture; floats in [0, 1] become 8 bits. UsageError: another shape, type or range."""
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

"""ICC profiles: a picture's colours as sRGB, which is what the models were trained on."""

import io
from functools import cache

import numpy as np
from PIL import Image, ImageCms

_GREY = frozenset({"1", "L", "LA", "La"})
_STEPS = 9  # of each channel in the colours that a profile is tried on
_SAME = 1  # grey levels: a profile that moves no colour further is sRGB, and the pixels stay as they are


def to_srgb(image: Image.Image) -> Image.Image:
    """An 8-bit picture with its profile applied; one without a profile, or with a bad one, as it is.

    A profile is bad where littleCMS cannot read it, or where it is for another kind of colours.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return image
    grey, clear = image.mode in _GREY, image.has_transparency_data
    base = image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if grey else "RGB")
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb(), base.mode, "RGB"
        )
        if base.mode == "RGB" and _moved(transform) <= _SAME:
            return image
        managed = ImageCms.applyTransform(base, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    assert managed is not None  # it is None where the picture is changed in place
    managed.info.pop("transparency", None)  # a colour, which is another one now
    if grey:
        managed = managed.convert("L")
    if clear:
        managed.putalpha(image.convert("RGBA").getchannel("A"))
    return managed


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _moved(transform: ImageCms.ImageCmsTransform) -> int:
    """How far a transform of RGB moves a colour at most, in grey levels."""
    levels = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_STEPS, -1, 3)
    moved = ImageCms.applyTransform(Image.fromarray(colours), transform)
    return int(np.abs(np.asarray(moved).astype(int) - colours).max())

"""Reading pictures and masks. No file is trusted; every error is one line that says what to do."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures.files import FORMATS, FileContent, one_line, read_content, sniff
from sfumato.pictures.given import PictureSource, image_of

Size = int | tuple[int, int]  # one side of a square, or (H, W)
Convention = Literal["white", "alpha"]

MAX_SIDE = 16384
_GREY = frozenset({"1", "L", "LA", "La"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})  # 16-bit grey, as Pillow calls it


def read_picture(source: PictureSource, *, size: Size | None = None, channels: int | None = None) -> Tensor:
    """Reads a PNG, JPEG or WebP picture -> float32 (1,C,H,W) in [-1, 1].

    source: a path, the bytes of a file, a PIL picture, or an array (H, W) or (H, W, C) of uint8 or of floats
    in [0, 1].
    size: a side or (H, W): the picture is cropped to this aspect at its centre, then resized with antialiased
    Lanczos; by default it keeps its size.
    channels: 1 is grey (ITU-R 601 luma), 3 is RGB; by default those of the file.
    EXIF orientation is applied, transparency becomes white, 16 bits become 8. Of a multi-picture JPEG, which
    phones write, the first picture is read.

    Errors: UsageError for a file that is missing, empty, a folder, too large (bytes or pixels), damaged,
    animated, of another format, or with the extension of another format; for a bad size or channels.
    """
    if channels not in (None, 1, 3):
        raise UsageError(f"channels {channels!r}: give 1 (grey), 3 (RGB) or nothing")
    shape = _height_width(size)
    image, name = _opened(source)
    with decoding(name):
        image = _flat(ImageOps.exif_transpose(image), background="white")
        if channels is not None:
            image = image.convert("L" if channels == 1 else "RGB")
        if shape is not None:
            image = ImageOps.fit(image, shape[::-1], Image.Resampling.LANCZOS)
        return to_tensor(image)


def read_mask(
    source: PictureSource,
    *,
    convention: Convention = "white",
    size: tuple[int, int],
    resize: Size | None = None,
) -> Tensor:
    """Reads a mask -> float32 (1,1,H,W) of 0 and 1, where 1 = edit.

    convention: "white": light pixels (>= 128 of 255) are edited, transparent pixels are not; "alpha": fully
    transparent pixels are edited and all others are kept, as in OpenAI's interface.
    size: (H, W) that the mask must have: the `picture_size` of its picture.
    resize: the size that the picture was read at. The mask gets the same crop; a pixel is edited where at
    least half of its area is.

    Errors: UsageError as read_picture; for another size than the picture's, for a mask that edits nothing,
    for "alpha" without an alpha channel.
    """
    if convention not in get_args(Convention):
        raise UsageError(f'mask convention {convention!r}: give "white" or "alpha" (what is edited)')
    shape = _height_width(resize)
    image, name = _opened(source)
    with decoding(name):
        edited = _edited(ImageOps.exif_transpose(image), convention, name)
        if edited.size != size[::-1]:
            raise UsageError(
                f"the mask {name} is {edited.width} x {edited.height} and its picture {size[1]} x {size[0]} "
                "(width x height): give a mask of the picture's size"
            )
        if shape is not None:
            edited = ImageOps.fit(edited, shape[::-1], Image.Resampling.BOX)
        mask = torch.from_numpy(np.array(edited) >= 128)  # (H,W)
    if not mask.any():
        painted = "white" if convention == "white" else "fully transparent"
        raise UsageError(f"the mask {name} edits nothing: make {painted} what is to change")
    return mask[None, None].float()  # (1,1,H,W)


def picture_size(source: PictureSource) -> tuple[int, int]:
    """The picture's (H, W) after EXIF orientation, from the head of the file; errors as read_picture."""
    image, name = _opened(source)
    with decoding(name):
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return image.size if turned else image.size[::-1]


def open_content(content: FileContent, formats: Sequence[str] = tuple(FORMATS.values())) -> Image.Image:
    """Opens one still picture in one of the `formats`; its pixels are not decoded. Errors as read_picture."""
    found = _recognised(content, formats)
    with decoding(content.name), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # an error below, where Pillow warns
        image = Image.open(io.BytesIO(content.data), formats=[found])
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise Image.DecompressionBombError
        if found in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
            raise UsageError(f"{content.name} is animated: save the frame you mean as a picture of its own")
    return image


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns an error of Pillow on a bad file into a UsageError of one line.

    Pillow's decoders raise errors of a dozen types on crafted bytes, hence `except Exception`.
    """
    try:
        yield
    except (SfumatoError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise UsageError(f"{name} has more than the {limit} pixels allowed: make it smaller") from error
    except Exception as error:
        why = one_line(error)
        raise UsageError(f"{name} is damaged or cut short ({why}): save or download it again") from error


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL picture in mode L or RGB -> float32 (1,C,H,W) in [-1, 1]; `to_uint8` undoes it exactly."""
    pixels = torch.from_numpy(np.array(image))  # (H,W) or (H,W,3)
    pixels = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)  # (C,H,W)
    return (pixels.float() / 127.5 - 1.0)[None].contiguous()  # (1,C,H,W)


def _opened(source: PictureSource) -> tuple[Image.Image, str]:
    if isinstance(source, np.ndarray):
        source = image_of(source)
    if isinstance(source, Image.Image):
        if source.mode == "F":
            raise UsageError("the picture has float pixels, whose range is unknown: give mode L or RGB")
        return source, "the picture"
    content = read_content(source)
    return open_content(content), content.name


def _recognised(content: FileContent, formats: Sequence[str]) -> str:
    """The format by content; UsageError for other formats and for the extension of another format."""
    data, name, extension = content
    found = sniff(data)
    if found is None or found not in formats:
        is_a = f"is {found}" if found else "is not a picture"
        raise UsageError(f"{name} {is_a}: save it as PNG, JPEG or WebP and give that file")
    claimed = FORMATS.get(extension, extension.lstrip(".").upper())
    if claimed and claimed != found:
        right = next((ending for ending, inside in FORMATS.items() if inside == found), f".{found.lower()}")
        raise UsageError(f"{name} is {found} under the extension {extension}: rename it to {right}")
    return found


def _height_width(size: Size | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = size if isinstance(size, tuple) else (size, size)
    if len(pair) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIDE for side in pair):
        raise UsageError(f"size {size!r}: give one side or (height, width), each from 1 to {MAX_SIDE} pixels")
    return pair


def _flat(image: Image.Image, background: str) -> Image.Image:
    """Any mode -> L or RGB, 8 bits, on the background where it is transparent."""
    if image.mode in _DEEP:
        image = _eight_bits(image)
    mode = "L" if image.mode in _GREY else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    base = Image.new("RGBA", image.size, background)
    base.alpha_composite(image.convert("RGBA"))
    return base.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> L, or LA where one level is named transparent (Pillow's own convert clips at 255)."""
    levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)  # (H,W)
    grey = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    if "transparency" in image.info:
        opaque = np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)
        grey.putalpha(Image.fromarray(opaque))
    return grey


def _edited(image: Image.Image, convention: Convention, name: str) -> Image.Image:
    """The mask as L: 255 where it edits, 0 elsewhere."""
    if convention == "white":
        return _flat(image, background="black").convert("L").point([0] * 128 + [255] * 128)
    if not image.has_transparency_data:
        raise UsageError(
            f'the mask {name} has no alpha channel: erase what is to change, or use the "white" convention'
        )
    image = _eight_bits(image) if image.mode in _DEEP else image
    return image.convert("RGBA").getchannel("A").point([255] + [0] * 255)

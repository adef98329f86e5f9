"""Reading pictures and masks. No file is trusted; every error is one line that says what to do."""

import io
import warnings
from typing import Literal, get_args

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.pictures.ancillary import pixels_alone, without_texts
from sfumato.pictures.colours import to_srgb
from sfumato.pictures.decoding import decoding, enable
from sfumato.pictures.files import READ_FORMATS, FileContent, read_content, sniff
from sfumato.pictures.fitting import FIT, Fit, check_fit, fitted, reduced_mask, sides_lost
from sfumato.pictures.given import PictureSource, image_of

Size = int | tuple[int, int]  # one side of a square, or (H, W)
Convention = Literal["white", "alpha"]

MAX_SIDE = 16384
_GREY = frozenset({"1", "L", "LA", "La"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})  # 16-bit grey, as Pillow calls it
_TURNS = {  # by EXIF's orientation: what makes the picture upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(
    source: PictureSource,
    *,
    size: Size | None = None,
    channels: int | None = None,
    fit: Fit = FIT,
    managed: bool = True,
) -> Tensor:
    """Reads a picture -> float32 (1,C,H,W) in [-1, 1].

    source: a path, the bytes of a file, a PIL picture, or an array (H, W) or (H, W, C) of uint8 or of floats
    in [0, 1]. A file is PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF, or HEIC (with `sfumato[heic]`).
    size: a side or (H, W), to which the picture is resized with antialiased Lanczos; by default it keeps its
    size. fit: "top", "crop" or "pad", what happens where the aspect is another one (fitting.py).
    channels: 1 is grey (ITU-R 601 luma), 3 is RGB; by default those of the file.
    managed: an ICC profile is converted to sRGB; False leaves it out, as sfumato 0.1 did.
    EXIF orientation is applied, transparency becomes white, 16 bits become 8. Of several frames the first is
    read, with a warning; of a multi-picture JPEG, which phones write, without one. Damage beside the pixels
    (text, EXIF, a profile) counts as if it were not there.

    Errors: UsageError for a file that is missing, empty, a folder, too large (bytes or pixels), damaged, of
    another format, or with the extension of another format; for a bad size, channels or fit.
    """
    if channels not in (None, 1, 3):
        raise UsageError(f"channels {channels!r}: give 1 (grey), 3 (RGB) or nothing")
    shape = _height_width(size)
    check_fit(fit)
    image, name = _first_frame(source)
    with decoding(name):
        image = _upright(image)
        image = _eight_bits(image) if image.mode in _DEEP else image
        image = _flat(to_srgb(image) if managed else image, background="white")
        if channels is not None:
            image = image.convert("L" if channels == 1 else "RGB")
        if shape is not None:
            image = fitted(image, shape, fit, Image.Resampling.LANCZOS)
        return to_tensor(image)


def read_mask(
    source: PictureSource,
    *,
    convention: Convention = "white",
    size: tuple[int, int],
    resize: Size | None = None,
    fit: Fit = FIT,
    thin: bool = True,
) -> Tensor:
    """Reads a mask -> float32 (1,1,H,W) of 0 and 1, where 1 = edit.

    convention: "white": light pixels (>= 128 of 255) are edited, transparent pixels are not; "alpha": fully
    transparent pixels are edited and all others are kept, as in OpenAI's interface.
    size: (H, W) that the mask must have: the `picture_size` of its picture.
    resize, fit: how the picture was read, so that the mask loses what the picture loses; what it marks there
    is warned of. A pixel is edited where at least half of its area is. thin: parts that are thinner than a
    pixel stay, too (fitting.py); False drops them, as sfumato 0.1 did.

    Errors: UsageError as read_picture; for another size than the picture's, for a mask that edits nothing,
    for "alpha" without an alpha channel.
    """
    if convention not in get_args(Convention):
        raise UsageError(f'mask convention {convention!r}: give "white" or "alpha" (what is edited)')
    shape = _height_width(resize)
    check_fit(fit)
    image, name = _first_frame(source)
    with decoding(name):
        edited = _edited(_upright(image), convention, name)
        if edited.size != size[::-1]:
            raise UsageError(
                f"the mask {name} is {edited.width} x {edited.height} and its picture {size[1]} x {size[0]} "
                "(width x height): give a mask of the picture's size"
            )
        if edited.getbbox() is None:
            painted = "white" if convention == "white" else "fully transparent"
            raise UsageError(f"the mask {name} edits nothing: make {painted} what is to change")
        shape = shape or size
        mask, lost = reduced_mask(edited, shape, fit, thin=thin), sides_lost(edited, shape, fit)
    if not mask.any():
        where = f"is cut off with the {' and '.join(lost)} of the picture" if lost else "is under a pixel"
        raise UsageError(f'what the mask {name} marks {where}: fit "pad" (--fit pad) cuts nothing off')
    if lost:
        warnings.warn(
            f"a part of what the mask {name} marks is cut off with the {' and '.join(lost)} of the picture; "
            'fit "pad" (--fit pad) cuts nothing off',
            stacklevel=2,
        )
    return mask[None, None].float()  # (1,1,H,W)


def picture_size(source: PictureSource) -> tuple[int, int]:
    """The picture's (H, W) after EXIF orientation, from the head of the file; errors as read_picture."""
    image, name = _opened(source, load=False)
    with decoding(name):
        turned = _orientation(image) in (5, 6, 7, 8)
        return image.size if turned else image.size[::-1]


def is_animated(source: PictureSource) -> bool:
    """Whether there are several frames or pages, of which the first is read; errors as read_picture."""
    image, name = _opened(source, load=False)
    with decoding(name):
        return _has_frames(image)


def open_content(content: FileContent) -> Image.Image:
    """Opens a file of a format that is read; its pixels are not decoded. Errors as read_picture."""
    found = _recognised(content)
    enable(found, content.name)
    with decoding(content.name):
        image = Image.open(io.BytesIO(content.data), formats=[found])
        limit = Image.MAX_IMAGE_PIXELS
        if (
            limit is not None and image.width * image.height > limit
        ):  # Pillow warns of it, up to twice as many
            raise Image.DecompressionBombError
    return image


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL picture in mode L or RGB -> float32 (1,C,H,W) in [-1, 1]; `to_uint8` undoes it exactly."""
    pixels = torch.from_numpy(np.array(image))  # (H,W) or (H,W,3)
    pixels = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)  # (C,H,W)
    return (pixels.float() / 127.5 - 1.0)[None].contiguous()  # (1,C,H,W)


def _first_frame(source: PictureSource) -> tuple[Image.Image, str]:
    image, name = _opened(source, load=True)
    if _has_frames(image):
        warnings.warn(f"{name} has several frames: the first one is read", stacklevel=3)
    return image, name


def _has_frames(image: Image.Image) -> bool:
    several = bool(getattr(image, "is_animated", False))
    return several and image.format not in ("JPEG", "MPO")  # a phone's, with a preview or a second view


def _opened(source: PictureSource, *, load: bool) -> tuple[Image.Image, str]:
    """The picture, its pixels decoded or not yet, and its name in messages."""
    if isinstance(source, np.ndarray):
        source = image_of(source)
    if isinstance(source, Image.Image):
        image, name = source, "the picture"
    else:
        content = read_content(source)
        image, name = _of_file(content, load=load), content.name
    if image.mode == "F":
        raise UsageError(f"{name} has float pixels, whose range is unknown: give mode L or RGB, 8 bits")
    return image, name


def _of_file(content: FileContent, *, load: bool) -> Image.Image:
    """The picture of a file; what is beside the pixels is left out where it cannot be read."""

    def opened(data: bytes) -> Image.Image:
        image = open_content(content._replace(data=data))
        with decoding(content.name):
            if load:
                image.load()
        return image

    try:
        return opened(without_texts(content.data))
    except UsageError:
        bare = pixels_alone(content.data)
        if bare == content.data:
            raise
        return opened(bare)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 .. 8; 1, upright, where EXIF is missing or damaged."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of a dozen types, on crafted bytes
        return 1
    return found if type(found) is int and found in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS[_orientation(image)]
    return image if turn is None else image.transpose(turn)


def _recognised(content: FileContent) -> str:
    """The format by content; UsageError for one that is not read and for the extension of another format."""
    data, name, extension = content
    found = sniff(data)
    if found is None or found not in READ_FORMATS.values():
        is_a = f"is {found}" if found else "is not a picture"
        raise UsageError(f"{name} {is_a}: save it as PNG, JPEG or WebP and give that file")
    claimed = READ_FORMATS.get(extension, extension.lstrip(".").upper())
    if claimed and claimed != found:
        right = next(ending for ending, inside in READ_FORMATS.items() if inside == found)
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
    """Any mode of 8 bits -> L or RGB, on the background where it is transparent."""
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
    image = _eight_bits(image) if image.mode in _DEEP else image
    if convention == "white":
        return _flat(image, background="black").convert("L").point([0] * 128 + [255] * 128)
    if not image.has_transparency_data:
        raise UsageError(
            f'the mask {name} has no alpha channel: erase what is to change, or use the "white" convention'
        )
    return image.convert("RGBA").getchannel("A").point([255] + [0] * 255)

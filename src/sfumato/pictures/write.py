"""Writing pictures: eight bits, the recipe inside, whole or not at all."""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures.files import FORMATS, check_destination, encoding, one_line, publish
from sfumato.pictures.given import PictureSource
from sfumato.pictures.metadata import MAX_EXIF_IN_JPEG, exif_bytes, png_chunks, recipe_text
from sfumato.pictures.read import read_picture

QUALITY = 95
_MOST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}  # pixels, of their encoders


def to_uint8(x: Tensor) -> Tensor:
    """[-1, 1] of any shape -> uint8 on the CPU: floor(127.5 x + 127.5 + 1/2), clipped; -1 is 0 and 1 is 255.

    Errors: SfumatoError for values that are not finite (a network overflowed: a black picture would hide it).
    """
    x = x.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(x).all()):
        raise SfumatoError(
            "the picture holds NaN or infinity: run the model in float32 or lower the guidance"
        )
    return (x * 127.5 + 127.5 + 0.5).floor().clamp(0, 255).to(torch.uint8)


def to_image(x: Tensor) -> Image.Image:
    """(C,H,W) or (1,C,H,W) in [-1, 1] -> a PIL picture, mode L for C = 1 and RGB for C = 3."""
    return pil_image(to_uint8(one_picture(x)))


def save_picture(
    x: Tensor,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    parameters: str | None = None,
    quality: int | None = None,
) -> Path:
    """Writes one picture (C,H,W) or (1,C,H,W) in [-1, 1] as .png, .jpg, .jpeg or .webp; returns the path.

    metadata: the recipe, a mapping of JSON values, for `read_metadata`. parameters: the text for other tools.
    metadata.py says where in the file they stand. None writes none.
    quality: 1 .. 100 for JPEG and WebP, by default 95; a PNG is exact and takes none.

    Errors: UsageError for an unknown extension, a shape, a quality, metadata that is not JSON-able or too
    long for a JPEG; SfumatoError for a folder that is missing or not writable, or values that are not finite.
    """
    path = check_destination(path)
    publish(path, encode_picture(x, path, metadata=metadata, parameters=parameters, quality=quality))
    return path


def encode_picture(
    x: Tensor,
    name: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    parameters: str | None = None,
    quality: int | None = None,
) -> bytes:
    """The bytes that `save_picture` would write under this name, which may be an extension alone."""
    path = Path(f"picture{name}" if str(name).startswith(".") else name)
    image, recipe, kind = to_image(x), recipe_text(metadata), FORMATS[path.suffix.lower()]
    options: dict[str, Any]
    if kind == "PNG":
        if quality is not None:
            raise UsageError(f"quality {quality} for {one_line(path)}: a PNG is exact; use .jpg or .webp")
        options = {"pnginfo": png_chunks(recipe, parameters)}
    else:
        quality = QUALITY if quality is None else quality
        if type(quality) is not int or not 1 <= quality <= 100:
            raise UsageError(f"quality {quality!r}: give a whole number from 1 to 100")
        options = {"exif": exif_bytes(recipe, parameters), "quality": quality}
    if kind == "JPEG":
        options["subsampling"] = 0  # full colour: small pictures lose much by halving it
        _check_exif(path, options["exif"])
    file = io.BytesIO()
    with encoding(path, "use .png"):
        image.save(file, kind, **options)
    return file.getvalue()


def check_encodable(
    name: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    metadata: Mapping[str, Any] | None = None,
    parameters: str | None = None,
) -> None:
    """Refuse what a format cannot hold, before the picture of this size (H, W) is made: UsageError.

    name: as of `encode_picture`.
    """
    path = Path(f"picture{name}" if str(name).startswith(".") else name)
    kind, recipe = FORMATS[path.suffix.lower()], recipe_text(metadata)
    if max(size) > (most := _MOST_SIDE.get(kind, 2**31 - 1)):
        raise UsageError(f"{one_line(path)} would have a side of {max(size)} pixels, over {most}: use .png")
    if kind == "JPEG":
        _check_exif(path, exif_bytes(recipe, parameters))


def _check_exif(path: Path, exif: bytes) -> None:
    if len(exif) > MAX_EXIF_IN_JPEG:
        raise UsageError(
            f"the metadata of {one_line(path)} is over 64 KiB, a JPEG's limit: use .png or .webp"
        )


def pixels_digest(source: Tensor | PictureSource) -> str:
    """The sha256 (hex) of the uint8 pixels of a picture or of a file, in rows of (R,G,B) or of grey.

    It equals sha256(numpy.asarray(PIL picture).tobytes()). A tensor and the PNG saved from it have the same.
    """
    x = source if isinstance(source, Tensor) else read_picture(source)
    pixels = to_uint8(one_picture(x)).permute(1, 2, 0).contiguous()  # (H,W,C)
    return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()


def one_picture(x: Tensor) -> Tensor:
    """(C,H,W) or (1,C,H,W) -> (C,H,W), C = 1 or 3; UsageError for any other shape."""
    single = x[0] if x.dim() == 4 and x.shape[0] == 1 else x
    if single.dim() != 3 or single.shape[0] not in (1, 3) or not single.numel():
        raise UsageError(
            f"a picture of shape {tuple(x.shape)}: give (C,H,W) or (1,C,H,W), C = 1 or 3, not empty"
        )
    return single


def pil_image(pixels: Tensor) -> Image.Image:
    """uint8 (C,H,W) -> a PIL picture."""
    rows = pixels.permute(1, 2, 0).contiguous().numpy()  # (H,W,C)
    return Image.fromarray(rows[..., 0] if rows.shape[2] == 1 else rows)

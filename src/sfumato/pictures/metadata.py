"""The recipe inside a picture, and the `parameters` text for other tools.

    file    recipe (JSON in ASCII)                       parameters
    PNG     iTXt chunk "sfumato"                         tEXt chunk "parameters" (iTXt beyond Latin-1)
    JPEG    EXIF ImageDescription, after "sfumato:"      EXIF UserComment, "UNICODE", NUL, UTF-16 big-endian
    WebP    as JPEG                                      as JPEG
    GIF     comment, after "sfumato:"                    none
    MP4     tag "comment", after "sfumato:"              none

JSON turns tuples into lists and keys into text; a recipe is JSON-able already.
"""

import io
import json
import os
import struct
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from PIL import ExifTags, PngImagePlugin, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures.ancillary import without_texts
from sfumato.pictures.decoding import decoding
from sfumato.pictures.files import FileContent, one_line, read_content, sniff
from sfumato.pictures.read import open_content

MAX_TEXT = 8 * 2**20  # characters, written or read
MAX_EXIF_IN_JPEG = 65533  # bytes: one marker segment
MARK = "sfumato:"
_FIRST = 8  # where the first TIFF directory stands, behind the head


def read_metadata(source: str | os.PathLike[str] | bytes) -> dict[str, Any] | None:
    """The recipe that `save_picture` or `save_animation` wrote; None where there is none.

    source: a path, or the bytes of a file. The pixels are decoded only where a PNG has text behind them.

    Errors: UsageError as read_picture, and for a recipe of more than 8 MiB or one that is not a JSON object;
    SfumatoError for an MP4 without PyAV.
    """
    content = read_content(source)
    name = content.name
    text = _mp4_comment(content) if sniff(content.data) == "MP4" else _image_text(content)
    if text is None:
        return None
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"the recipe in {name} is longer than {MAX_TEXT // 2**20} MiB: it is not from sfumato"
        )
    try:
        recipe = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the recipe in {name} is damaged ({one_line(error)}): take the original") from error
    if not isinstance(recipe, dict):
        raise UsageError(f"the recipe in {name} is not a JSON object: it is not from sfumato")
    return recipe


def recipe_text(metadata: Mapping[str, Any] | None) -> str | None:
    """The recipe as JSON in ASCII; UsageError for values that JSON cannot hold (NaN too) or over 8 MiB."""
    if metadata is None:
        return None
    try:
        text = json.dumps(dict(metadata), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"metadata is not JSON-able ({one_line(error)}): use plain values") from error
    return _bounded(text)


def marked(recipe: str | None) -> str | None:
    """The recipe with the mark that tells it from other content of the field."""
    return None if recipe is None else MARK + recipe


def png_chunks(recipe: str | None, parameters: str | None) -> PngImagePlugin.PngInfo:
    """The text chunks of a PNG."""
    chunks = PngImagePlugin.PngInfo()
    if recipe is not None:
        chunks.add_itxt("sfumato", recipe)
    if parameters is not None:
        chunks.add_text("parameters", _writable(parameters))
    return chunks


def exif_bytes(recipe: str | None, parameters: str | None) -> bytes:
    """The EXIF block of a JPEG or WebP; empty where there is neither recipe nor parameters.

    Pillow gives UserComment the type BYTE, but EXIF 2.3 and its readers want UNDEFINED.
    """
    if recipe is None and parameters is None:
        return b""
    head = b"MM\0*" + struct.pack(">L", _FIRST)
    first, second = ImageFileDirectory_v2(head), ImageFileDirectory_v2(head)
    behind = b""
    if recipe is not None:
        first[ExifTags.Base.ImageDescription] = MARK + recipe
    if parameters is not None:
        second.tagtype[ExifTags.Base.UserComment] = TiffTags.UNDEFINED
        second[ExifTags.Base.UserComment] = b"UNICODE\0" + _writable(parameters).encode("utf-16-be")
        first[ExifTags.IFD.Exif] = 0  # takes the room of the number that is known on the next line
        first[ExifTags.IFD.Exif] = _FIRST + len(first.tobytes(_FIRST))
        behind = second.tobytes(first[ExifTags.IFD.Exif])
    return b"Exif\0\0" + head + first.tobytes(_FIRST) + behind


def load_av() -> ModuleType:
    """PyAV, or a SfumatoError that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise SfumatoError("an .mp4 needs PyAV: pip install 'sfumato[video]', or use .gif") from error
    return av


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"metadata of {len(text)} characters: the limit is {MAX_TEXT}; put large inputs in files"
        )
    return text


def _writable(text: str) -> str:
    """The text without lone surrogates (a command line's undecodable bytes), which no encoding holds."""
    return _bounded(text.encode("utf-8", "replace").decode("utf-8"))


def _image_text(content: FileContent) -> str | None:
    # of the texts of a PNG none but ours is unpacked
    image = open_content(content._replace(data=without_texts(content.data, keep=b"sfumato")))
    with decoding(content.name):
        if isinstance(image, PngImagePlugin.PngImageFile):
            held = image.info.get("sfumato")
            return held if isinstance(held, str) else image.text.get("sfumato")  # .text reads on to the end
        if image.format == "GIF":
            return _unmarked(image.info.get("comment", b"").decode("ascii", "replace"))
        return _unmarked(image.getexif().get(ExifTags.Base.ImageDescription))


def _mp4_comment(content: FileContent) -> str | None:
    av = load_av()
    with decoding(content.name), av.open(io.BytesIO(content.data), format="mp4") as container:
        return _unmarked(container.metadata.get("comment"))


def _unmarked(text: object) -> str | None:
    return text[len(MARK) :] if isinstance(text, str) and text.startswith(MARK) else None

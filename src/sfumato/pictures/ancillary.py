"""What a PNG or JPEG file holds beside its pixels, taken out before the pixels are decoded.

Texts, EXIF and profiles that are too long or damaged make Pillow refuse the whole file; the pixels are whole.
"""

import struct
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
# JPEG markers (ITU-T T.81): application data but JFIF's and Adobe's, which say what the colours are; comments
_JPEG_BESIDE = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_JPEG_SCAN = 0xDA


def without_texts(data: bytes, keep: bytes | None = None) -> bytes:
    """A PNG without its texts, those of the keyword `keep` excepted; another file as it is."""
    if not data.startswith(_SIGNATURE):
        return data
    kept = [
        part
        for kind, part in _png_chunks(data)
        if kind not in _PNG_TEXTS or (keep is not None and part.startswith(keep + b"\0", 8))
    ]
    return b"".join([_SIGNATURE, *kept])


def pixels_alone(data: bytes) -> bytes:
    """A PNG or JPEG without all that is beside its pixels; another file as it is."""
    if data.startswith(_SIGNATURE):
        return b"".join([_SIGNATURE, *(part for kind, part in _png_chunks(data) if kind in _PNG_PIXELS)])
    if data.startswith(b"\xff\xd8"):
        parts = (part for marker, part in _jpeg_segments(data) if marker not in _JPEG_BESIDE)
        return b"".join([b"\xff\xd8", *parts])
    return data


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and the bytes of each chunk; the last one may be cut short."""
    place = len(_SIGNATURE)
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place:end]
        place = end


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker and the bytes of each segment; what begins with the first scan is one part."""
    place = 2
    while place + 4 <= len(data):
        start, marker, length = struct.unpack_from(">BBH", data, place)
        if start != 0xFF or marker == _JPEG_SCAN:
            break
        yield marker, data[place : place + 2 + length]
        place += 2 + length
    yield _JPEG_SCAN, data[place:]

"""Pictures: exact round trips, files made by hand read as they must be, every bad input in one line."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch import Tensor

from sfumato import pictures
from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures import (
    check_destination,
    grid,
    labelled_grid,
    picture_size,
    pixels_digest,
    read_mask,
    read_metadata,
    read_picture,
    save_animation,
    save_picture,
    to_image,
    to_uint8,
)

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# --- helpers ---------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG by hand: `rows` are scan lines without their filter bytes; `chunks` stand before them."""
    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunks) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def bomb(side: int, lines: int) -> bytes:
    """A one-bit PNG of side x side pixels in a few KB, of which `lines` lines are there."""
    data = zlib.compress(bytes((1 + (side + 7) // 8) * lines), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise_image(height: int = 12, width: int = 17, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def smooth(height: int, width: int) -> Tensor:
    """A picture (3,H,W) that lossy formats keep well."""
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    return torch.stack([y.expand(height, width), x.expand(height, width), (x * y)])


def bytes_of(x: Tensor) -> np.ndarray:
    return to_uint8(x)[0].permute(1, 2, 0).numpy()


def refused(call: Callable[[], object], *words: str, kind: type[SfumatoError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message
    assert ": " in message  # what was wrong: what to do
    for word in words:
        assert word in message
    return message


# --- eight bits ------------------------------------------------------------------------------------------


def test_every_byte_survives() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    image = to_image(levels.float() / 127.5 - 1)
    assert np.array_equal(np.asarray(image), levels[0].numpy())
    assert torch.equal(to_uint8(read_picture(image))[0], levels)


def test_rounding_is_to_nearest_half_up_and_clips() -> None:
    wanted = torch.tensor([-500.0, 0.0, 0.49, 0.51, 127.49, 127.5, 127.51, 254.49, 254.51, 255.0, 800.0])
    assert to_uint8(wanted / 127.5 - 1).tolist() == [0, 0, 0, 1, 127, 128, 128, 254, 255, 255, 255]
    assert to_uint8(torch.tensor([0.0], dtype=torch.bfloat16)).item() == 128


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float, tmp_path: Path) -> None:
    x = torch.zeros(3, 4, 4)
    x[1, 2, 3] = bad
    refused(lambda: save_picture(x, tmp_path / "a.png"), "NaN or infinity", "float32", kind=SfumatoError)
    assert list(tmp_path.iterdir()) == []


@quick
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.sampled_from([1, 3]), st.integers(1, 20), st.integers(1, 20)),
    )
)
def test_png_round_trip_is_exact(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "a.png"
    x = torch.from_numpy(values).float() / 127.5 - 1
    assert save_picture(x, path) == path
    again = read_picture(path)
    assert again.dtype == torch.float32
    assert again.shape == (1, *x.shape)
    assert torch.equal(to_uint8(again)[0], torch.from_numpy(values))
    assert pixels_digest(x) == pixels_digest(path) == pixels_digest(again)
    assert pixels_digest(path) == hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest()


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp", "a.JPG"])
def test_lossy_formats_stay_close(tmp_path: Path, name: str) -> None:
    x = smooth(40, 56)
    path = save_picture(x, tmp_path / name)
    assert (read_picture(path)[0] - x).abs().mean() < 0.02
    rough = save_picture(x, tmp_path / f"rough{path.suffix}", quality=5)
    assert (read_picture(rough)[0] - x).abs().mean() > (read_picture(path)[0] - x).abs().mean()
    assert rough.stat().st_size < path.stat().st_size


# --- reading ---------------------------------------------------------------------------------------------


def test_a_picture_may_be_a_path_bytes_or_decoded(tmp_path: Path) -> None:
    image = noise_image()
    path = tmp_path / "a.png"
    image.save(path)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    for source in (path, str(path), path.read_bytes(), image):
        assert torch.equal(to_uint8(read_picture(source)), expected)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = [255, 0, 51]  # opaque, clear, a fifth
    seen = bytes_of(read_picture(encoded(Image.fromarray(rgba), "PNG")))
    assert seen[0].tolist() == [[200, 0, 0], [255, 255, 255], [244, 204, 204]]


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(turned: int, kind: str) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (5, 8, 3), np.uint8)
    # What the camera stored such that the tag brings it upright (EXIF 2.3, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[turned]
    exif = Image.Exif()
    exif[0x0112] = turned
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, lossless=True)
    assert np.array_equal(bytes_of(read_picture(data)), upright)
    assert picture_size(data) == (5, 8)


def test_sixteen_bits() -> None:
    levels = [0, 128, 257, 32768, 65535, 1000]
    rows = struct.pack(">6H", *levels)
    expected = [round(level / 257) for level in levels]
    assert bytes_of(read_picture(png(6, 1, 16, 0, rows)))[0, :, 0].tolist() == expected
    clear = chunk(b"tRNS", struct.pack(">H", 1000))
    assert bytes_of(read_picture(png(6, 1, 16, 0, rows, clear)))[0, :, 0].tolist() == [*expected[:5], 255]
    colour = read_picture(png(2, 1, 16, 2, struct.pack(">6H", 0, 25700, 65535, 257, 514, 771)))
    assert np.abs(bytes_of(colour)[0].astype(int) - [[0, 100, 255], [1, 2, 3]]).max() <= 1
    alpha = read_picture(png(1, 1, 16, 4, struct.pack(">2H", 10000, 0)))
    assert bytes_of(alpha)[0, 0, 0] == 255
    assert bytes_of(read_picture(png(6, 1, 16, 0, rows), size=(2, 6))).shape == (2, 6, 1)


def test_palette_one_bit_and_grey_alpha() -> None:
    palette = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]))
    assert bytes_of(read_picture(png(3, 1, 8, 3, bytes([2, 0, 1]), palette)))[0].tolist() == [
        [70, 80, 90],
        [10, 20, 30],
        [40, 50, 60],
    ]
    clear = chunk(b"tRNS", bytes([255, 0]))
    seen = bytes_of(read_picture(png(3, 1, 8, 3, bytes([2, 0, 1]), palette, clear)))[0].tolist()
    assert seen == [[70, 80, 90], [10, 20, 30], [255, 255, 255]]
    assert bytes_of(read_picture(png(8, 1, 1, 0, b"\xa5")))[0, :, 0].tolist() == [
        255 * int(bit) for bit in "10100101"
    ]
    assert bytes_of(read_picture(png(2, 1, 8, 4, bytes([7, 255, 7, 0]))))[0, :, 0].tolist() == [7, 255]


def test_cmyk_jpeg_and_a_phones_multi_picture_jpeg() -> None:
    cmyk = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert np.abs(bytes_of(read_picture(cmyk)).astype(int) - [255, 0, 0]).max() < 6
    first, second = Image.new("RGB", (16, 8), "red"), Image.new("RGB", (16, 8), "blue")
    seen = bytes_of(read_picture(encoded(first, "MPO", save_all=True, append_images=[second])))
    assert np.abs(seen.astype(int) - [254, 0, 0]).max() < 6


def test_channels() -> None:
    colour = Image.new("RGB", (2, 2), (255, 0, 0))
    assert bytes_of(read_picture(colour, channels=1))[0, 0].tolist() == [round(0.299 * 255)]
    assert read_picture(colour).shape == (1, 3, 2, 2)
    grey = Image.new("L", (2, 2), 77)
    assert read_picture(grey).shape == (1, 1, 2, 2)
    assert bytes_of(read_picture(grey, channels=3))[0, 0].tolist() == [77, 77, 77]
    refused(lambda: read_picture(Image.new("F", (2, 2))), "float pixels", "mode L or RGB")
    refused(lambda: read_picture(grey, channels=2), "channels 2", "1 (grey), 3 (RGB)")  # type: ignore[arg-type]


def test_size_crops_the_centre_and_resizes_without_aliasing() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255  # the centre square
    assert (bytes_of(read_picture(Image.fromarray(wide), size=8)) == 255).all()
    assert read_picture(noise_image(30, 50), size=(10, 20)).shape == (1, 3, 10, 20)
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = read_picture(Image.fromarray(board.astype(np.uint8)), size=16)
    assert small.abs().max() < 0.2  # a checkerboard averages to grey; taking single pixels would give -1 or 1
    image = noise_image(16, 16)
    assert torch.equal(read_picture(image, size=16), read_picture(image))


@pytest.mark.parametrize("size", [0, -3, 2.5, True, (4,), (4, 0), (1, 2, 3), 100_000])
def test_bad_sizes(size: object) -> None:
    refused(lambda: read_picture(noise_image(), size=size), "size", "(height, width)")  # type: ignore[arg-type]


# --- bad files -------------------------------------------------------------------------------------------


def frames_file(kind: str) -> bytes:
    images = [noise_image(seed=seed) for seed in range(3)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], duration=100)


SVG = b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'/>"
BAD_FILES = {
    "empty.png": (lambda: b"", "is empty"),
    "svg.png": (lambda: SVG, "is SVG: save it as PNG, JPEG or WebP"),
    "words.jpg": (lambda: b"hello, world", "is not a picture"),
    "gif.png": (lambda: encoded(noise_image(), "GIF"), "is GIF under the extension .png"),
    "film.mp4": (lambda: b"\0\0\0\x18ftypisom" + bytes(40), "is MP4: save it as PNG"),
    "cut.gif": (lambda: encoded(noise_image(), "GIF")[:200], "is damaged or cut short"),
    "cut.tif": (lambda: encoded(noise_image(), "TIFF")[:200], "is damaged or cut short"),
    "cut.bmp": (lambda: encoded(noise_image(), "BMP")[:200], "is damaged or cut short"),
    "bitmap.png": (lambda: encoded(noise_image(), "BMP"), "is BMP"),
    "tiff.png": (lambda: encoded(noise_image(), "TIFF"), "is TIFF"),
    "jpeg.png": (
        lambda: encoded(noise_image(), "JPEG"),
        "is JPEG under the extension .png: rename it to .jpg",
    ),
    "png.webp": (
        lambda: encoded(noise_image(), "PNG"),
        "is PNG under the extension .webp: rename it to .png",
    ),
    "png.tiff": (lambda: encoded(noise_image(), "PNG"), "is PNG under the extension .tiff"),
    "cut.png": (lambda: encoded(noise_image(), "PNG")[:-200], "is damaged or cut short"),
    "cut.jpg": (lambda: encoded(noise_image(64, 64), "JPEG")[:1500], "is damaged or cut short"),
    "cut.webp": (lambda: encoded(noise_image(64, 64), "WEBP")[:500], "is damaged or cut short"),
    "head.png": (lambda: b"\x89PNG\r\n\x1a\n", "is damaged or cut short"),
    "zero.png": (lambda: png(0, 1, 8, 0, b""), "is damaged or cut short"),
    "bomb.png": (lambda: bomb(50_000, 500), "more than the 89,478,485 pixels allowed"),
    "warned.png": (lambda: bomb(10_000, 10_000), "more than the 89,478,485 pixels allowed"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, words = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 30_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(lambda: read_picture(path), str(path), words)
        refused(lambda: read_mask(path, size=(4, 4)), str(path), words)


def test_places_that_are_no_file(tmp_path: Path) -> None:
    refused(lambda: read_picture(tmp_path), "is a folder")
    refused(lambda: read_picture(tmp_path / "no.png"), f"there is no file {tmp_path}/no.png: check the path")
    (tmp_path / "a").write_bytes(b"x")
    refused(lambda: read_picture(tmp_path / "a" / "b.png"), "there is no file")
    refused(lambda: read_picture(tmp_path / ("x" * 300 + ".png")), "cannot read")
    refused(lambda: read_picture("a\0b.png"), "cannot read")
    refused(lambda: read_picture(tmp_path / "two\nlines.png"), "two lines.png")
    refused(lambda: read_picture(b""), "the picture is empty")
    os.mkfifo(tmp_path / "pipe.png")
    refused(lambda: read_picture(tmp_path / "pipe.png"), "is not a regular file")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # sparse
    refused(lambda: read_picture(path), "has 200 MiB, over the limit of 128 MiB: make it smaller")


def test_pixel_limit_follows_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise_image(10, 10), "PNG")
    for limit in (99, 49):  # Pillow warns at the first, raises at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        refused(lambda: read_picture(data), f"more than the {limit} pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(data).shape == (1, 3, 10, 10)


WHOLE = {kind: encoded(noise_image(), kind) for kind in ("PNG", "JPEG", "WEBP")}


@settings(quick, max_examples=150)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_whatever_the_bytes_the_answer_is_a_picture_or_one_line(kind: str, data: st.DataObject) -> None:
    whole = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (read_picture, read_metadata, picture_size):
            try:
                read(cut)
            except UsageError as error:
                assert "\n" not in str(error)  # noqa: PT017


# --- masks -----------------------------------------------------------------------------------------------


def test_white_masks() -> None:
    grey = Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8))
    for image in (grey, grey.convert("RGB")):
        mask = read_mask(image, size=(1, 4))
        assert mask.shape == (1, 1, 1, 4)
        assert mask.dtype == torch.float32
        assert mask.flatten().tolist() == [0, 0, 1, 1]
    drawn = np.full((1, 4, 4), 255, np.uint8)  # white on nothing
    drawn[0, :, 3] = [0, 255, 0, 255]
    assert read_mask(Image.fromarray(drawn), size=(1, 4)).flatten().tolist() == [0, 1, 0, 1]
    assert read_mask(Image.new("1", (4, 1), 1), size=(1, 4)).flatten().tolist() == [1, 1, 1, 1]


def test_alpha_masks() -> None:
    rgba = np.full((1, 4, 4), 255, np.uint8)
    rgba[0, :, 3] = [0, 1, 254, 255]
    data = encoded(Image.fromarray(rgba), "PNG")
    assert read_mask(data, convention="alpha", size=(1, 4)).flatten().tolist() == [1, 0, 0, 0]
    palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", bytes([255, 0]))
    indexed = png(2, 1, 8, 3, bytes([0, 1]), palette)
    assert read_mask(indexed, convention="alpha", size=(1, 2)).flatten().tolist() == [0, 1]
    deep = png(2, 1, 16, 0, struct.pack(">2H", 5, 6), chunk(b"tRNS", struct.pack(">H", 6)))
    assert read_mask(deep, convention="alpha", size=(1, 2)).flatten().tolist() == [0, 1]


def test_a_mask_is_brought_to_the_size_its_picture_was_read_at() -> None:
    half = np.zeros((20, 60, 3), np.uint8)
    half[:, 30:] = 255
    image = Image.fromarray(half)
    mask = read_mask(image, size=picture_size(encoded(image, "PNG")), resize=10)
    assert mask.shape == (1, 1, 10, 10)
    assert torch.equal(mask, (read_picture(image, size=10, channels=1) > 0).float())
    assert mask.mean() == 0.5


def test_bad_masks(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.new("L", (6, 4)).save(path)
    refused(
        lambda: read_mask(path, size=(8, 9)), str(path), "6 x 4", "9 x 8", "give a mask of the picture's size"
    )
    refused(lambda: read_mask(path, size=(4, 6)), "edits nothing: make white")
    refused(lambda: read_mask(path, convention="alpha", size=(4, 6)), "no alpha channel", '"white"')
    opaque = Image.new("RGBA", (6, 4), "red")
    refused(
        lambda: read_mask(opaque, convention="alpha", size=(4, 6)), "edits nothing: make fully transparent"
    )
    refused(lambda: read_mask(path, convention="black", size=(4, 6)), '"white" or "alpha"')  # type: ignore[arg-type]


# --- writing ---------------------------------------------------------------------------------------------


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, path = smooth(8, 8), tmp_path / "a.png"
    save_picture(x, path)
    before = path.read_bytes()
    refused(lambda: save_picture(x, path, metadata={"scale": math.nan}), "not JSON-able")
    refused(lambda: save_picture(x, path, metadata={"model": object()}), "not JSON-able")
    refused(lambda: save_picture(x, path, quality=80), "a PNG is exact")
    refused(lambda: save_picture(torch.zeros(2, 3, 8, 8), path), "(2, 3, 8, 8)")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            refused(lambda: save_picture(-x, path), "No space left on device", kind=SfumatoError)
            refused(lambda: save_picture(-x, tmp_path / "b.webp"), "No space", kind=SfumatoError)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    save_picture(-x, path)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        save_picture(smooth(8, 8), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_rights_of_ordinary_files(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    assert save_picture(smooth(4, 4), tmp_path / "a.png").stat().st_mode == ordinary.stat().st_mode


@pytest.mark.parametrize("write", [lambda path: save_picture(smooth(4, 4), path), check_destination])
def test_bad_destinations(tmp_path: Path, write: Callable[[Path], object]) -> None:
    for name in ("a.gif", "a", "a.png.txt"):
        refused(lambda name=name: write(tmp_path / name), f"{name}: give it one of the extensions .png, .jpg")
    refused(
        lambda: write(tmp_path / "no" / "a.png"), "there is no folder", "make it first", kind=SfumatoError
    )
    (tmp_path / "file").write_bytes(b"x")
    refused(lambda: write(tmp_path / "file" / "a.png"), "there is no folder", kind=SfumatoError)
    (tmp_path / "folder.png").mkdir()
    refused(lambda: write(tmp_path / "folder.png"), "something else has that name", kind=SfumatoError)
    refused(lambda: write(tmp_path / ("x" * 300 + ".png")), "choose another name", kind=SfumatoError)
    refused(lambda: write(Path("a\0.png")), "cannot write", kind=SfumatoError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody may write")
def test_an_unwritable_folder() -> None:
    refused(lambda: save_picture(smooth(4, 4), "/proc/self/a.png"), "/proc/self/a.png", kind=SfumatoError)


def test_a_folder_without_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    refused(lambda: check_destination(tmp_path / "a.png"), "is not writable; choose", kind=SfumatoError)


@pytest.mark.parametrize("quality", [0, 101, 2.5, True])
def test_bad_quality(tmp_path: Path, quality: object) -> None:
    path = tmp_path / "a.jpg"
    refused(lambda: save_picture(smooth(4, 4), path, quality=quality), "1 to 100")  # type: ignore[arg-type]
    assert not path.exists()


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    wide = torch.zeros(1, 1, 17000)
    refused(lambda: save_picture(wide, tmp_path / "a.webp"), "a.webp", "use .png", kind=SfumatoError)
    wider = torch.zeros(1, 1, 66000)
    refused(lambda: save_picture(wider, tmp_path / "a.jpg"), "a.jpg", "use .png", kind=SfumatoError)
    recipe = {"text": "x" * 70_000}
    refused(
        lambda: save_picture(smooth(4, 4), tmp_path / "a.jpg", metadata=recipe), "64 KiB", "use .png or .webp"
    )
    assert list(tmp_path.iterdir()) == []
    for name in ("a.png", "a.webp"):
        assert read_metadata(save_picture(smooth(4, 4), tmp_path / name, metadata=recipe)) == recipe


# --- metadata --------------------------------------------------------------------------------------------

RECIPE = {
    "model": "emoji",
    "prompt": 'an "old" man — 老人 🎨 \\ \n\0',
    "seeds": [777, 2**64],
    "scale": 7.5,
    "nested": {"none": None, "yes": True, "": []},
}
PARAMETERS = "an old man, 老人 🎨\nNegative prompt: blur\nSteps: 20, Sampler: ddim, Seed: 777, Size: 64x64"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_metadata_round_trip(tmp_path: Path, name: str) -> None:
    path = save_picture(smooth(8, 8), tmp_path / name, metadata=RECIPE, parameters=PARAMETERS)
    assert read_metadata(path) == read_metadata(str(path)) == read_metadata(path.read_bytes()) == RECIPE
    for off in ({}, {"parameters": PARAMETERS}):
        assert read_metadata(save_picture(smooth(8, 8), path, **off)) is None
    assert read_metadata(save_picture(smooth(8, 8), path, metadata=RECIPE)) == RECIPE
    assert read_metadata(save_picture(smooth(8, 8), path, metadata={})) == {}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
@quick
@given(st.dictionaries(st.text(), json_values, max_size=4), st.text())
def test_any_json_and_any_text(tmp_path: Path, name: str, recipe: dict[str, object], text: str) -> None:
    path = save_picture(smooth(2, 2), tmp_path / name, metadata=recipe, parameters=text)
    assert read_metadata(path) == recipe
    assert as_other_tools_read(path) == text


def as_other_tools_read(path: Path) -> str:
    """The `parameters` text the way A1111's interface reads it (piexif: UTF-16 big-endian after a prefix)."""
    with Image.open(path) as image:
        if path.suffix == ".png":
            return str(image.text["parameters"])
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    return comment[8:].decode("utf-16-be")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_other_tools_read_the_parameters(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_picture(smooth(8, 8), path, parameters=PARAMETERS)
    assert as_other_tools_read(path) == PARAMETERS
    save_picture(smooth(8, 8), path, parameters="a prompt\nSteps: 20")
    assert as_other_tools_read(path) == "a prompt\nSteps: 20"
    save_picture(smooth(8, 8), path, parameters="bytes \udcff")  # a command line that is not UTF-8
    assert as_other_tools_read(path) == "bytes ?"
    if name == "a.png":
        assert (
            json.loads(Image.open(save_picture(smooth(8, 8), path, metadata=RECIPE)).text["sfumato"])
            == RECIPE
        )
    else:  # the byte order of the block and UNDEFINED (7) as the comment's type, as EXIF asks
        exif = Image.open(path).info["exif"]
        assert exif.removeprefix(b"Exif\0\0").startswith(b"MM\0*")
        assert b"\x92\x86\0\x07" in exif


def test_recipes_behind_the_pixels_and_from_others() -> None:
    late = chunk(b"tEXt", b'sfumato\0{"seed": 7}')
    whole = png(1, 1, 8, 0, b"\0")
    end = whole.index(b"IEND") - 4
    assert read_metadata(whole[:end] + late + whole[end:]) == {"seed": 7}
    exif = Image.Exif()
    exif[0x010E] = "a holiday"
    assert read_metadata(encoded(noise_image(), "JPEG", exif=exif)) is None
    assert read_metadata(encoded(noise_image(), "GIF", comment=b"\xff made by hand")) is None


BAD_TEXTS = {
    "damaged": (b'{"seed": ', "is damaged"),
    "deep": (b"[" * 200_000, "is damaged"),
    "digits": (b'{"seed": ' + b"9" * 10_000 + b"}", "is damaged"),
    "list": (b"[1]", "is not a JSON object"),
    "long": (b" " * (8 * 2**20 + 1), "is longer than 8 MiB"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_bad_recipes(tmp_path: Path, name: str) -> None:
    text, words = BAD_TEXTS[name]
    path = tmp_path / "a.png"
    path.write_bytes(png(1, 1, 8, 0, b"\0", chunk(b"iTXt", b"sfumato\0\0\0\0\0" + text)))
    refused(lambda: read_metadata(path), str(path), words)
    assert read_picture(path).shape == (1, 1, 1, 1)


def test_text_bombs_and_too_much_to_write(tmp_path: Path) -> None:
    packed = b"sfumato\0\1\0\0\0" + zlib.compress(b" " * 20_000_000, 9)
    refused(lambda: read_metadata(png(1, 1, 8, 0, b"\0", chunk(b"iTXt", packed))), "too large")
    long = "x" * (8 * 2**20 + 1)
    refused(lambda: save_picture(smooth(2, 2), tmp_path / "a.png", metadata={"a": long}), "the limit is")
    refused(lambda: save_picture(smooth(2, 2), tmp_path / "a.png", parameters=long), "the limit is")
    assert list(tmp_path.iterdir()) == []


# --- grids -----------------------------------------------------------------------------------------------


@quick
@given(
    st.integers(1, 7),
    st.integers(1, 8) | st.none(),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([1, 3]),
)
def test_grid_places_every_picture(
    count: int, columns: int | None, padding: int, enlarge: int, channels: int
) -> None:
    x = torch.arange(count * channels * 6).float().view(count, channels, 2, 3) + 10
    sheet = grid(x, columns, padding, value=-5.0, enlarge=enlarge)
    across = min(count, columns or math.ceil(math.sqrt(count)))
    down = math.ceil(count / across)
    high, wide = 2 * enlarge + padding, 3 * enlarge + padding
    assert sheet.shape == (channels, down * high + padding, across * wide + padding)
    for index in range(count):
        top, left = padding + index // across * high, padding + index % across * wide
        for k in range(enlarge):  # every k-th pixel of an enlarged picture is the picture
            cell = sheet[:, top + k : top + 2 * enlarge : enlarge, left + k : left + 3 * enlarge : enlarge]
            assert torch.equal(cell, x[index])
    assert int((sheet != -5).sum()) == x.numel() * enlarge**2


def test_bad_grids() -> None:
    refused(lambda: grid(torch.zeros(0, 3, 2, 2)), "(0, 3, 2, 2)")
    refused(lambda: grid(torch.zeros(3, 2, 2)), "(3, 2, 2)")
    x = torch.zeros(2, 3, 2, 2)
    refused(lambda: grid(x, columns=0), "columns 0")
    refused(lambda: grid(x, padding=-1), "padding -1")
    for factor in (0, 65, 1.5, True):
        refused(lambda factor=factor: grid(x, enlarge=factor), "enlarge")


def test_labelled_grid(tmp_path: Path) -> None:
    x = torch.full((2, 1, 20, 30), -0.5)
    labels = ["one", "a label of many words that must wrap " * 3, "Unbreakable" * 9]
    sheet = labelled_grid([x, x, x], labels, ["left", ""], enlarge=2)
    assert sheet.dtype == torch.float32
    assert sheet.shape[0] == 3
    grey = to_uint8(torch.tensor(-0.5)).item()
    assert int((to_uint8(sheet) == grey).all(0).sum()) >= 6 * 40 * 60
    blank = labelled_grid([x, x, x], ["", "", ""], ["", ""], enlarge=2)
    assert sheet.shape[1] > blank.shape[1]  # room for the labels, with ink in it
    assert sheet.shape[2] > blank.shape[2]
    assert (sheet[:, :, : sheet.shape[2] - blank.shape[2]] < -0.9).any()
    assert not (blank < -0.9).any()
    save_picture(sheet, tmp_path / "sheet.png")
    refused(lambda: labelled_grid([x], ["a", "b"], ["c", "d"]), "1 rows under 2 labels")
    refused(lambda: labelled_grid([x], ["a"], ["c"]), "1 column labels")
    refused(lambda: labelled_grid([x, x[:1]], ["a", "b"], ["c", "d"]), "a picture for each column")
    refused(lambda: labelled_grid([], [], []), "give one label to each row and column")


# --- animations ------------------------------------------------------------------------------------------


def steps(count: int, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    """Frames that all differ, from noise to a smooth picture."""
    end = smooth(height, width)[:channels]
    noise = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    weights = torch.linspace(0, 1, count).view(-1, 1, 1, 1)
    return weights * end + (1 - weights) * noise


def gif_frames(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as image:
        seen, times = [], []
        for index in range(image.n_frames):
            image.seek(index)
            seen.append(np.asarray(image.convert("RGB")))
            times.append(int(image.info["duration"]))
    return seen, times


@pytest.mark.parametrize("as_list", [False, True])
def test_gif(tmp_path: Path, as_list: bool) -> None:
    frames = steps(7)
    given_frames = list(frames) if as_list else frames
    path = tmp_path / "a.gif"
    save_animation(given_frames, path, seconds=2.0, hold_last=1.5, enlarge=3, metadata=RECIPE)
    seen, times = gif_frames(path)
    assert len(seen) == 7
    assert sum(times) == 3500
    assert max(times[:-1]) - min(times[:-1]) <= 10
    assert seen[0].shape == (36, 48, 3)
    last = to_uint8(frames[-1]).permute(1, 2, 0).numpy()
    assert np.abs(seen[-1][::3, ::3].astype(int) - last).mean() < 12
    assert np.array_equal(seen[-1][::3, ::3], seen[-1][2::3, 1::3])  # whole squares
    assert read_metadata(path) == RECIPE
    assert Image.open(path).info["loop"] == 0


def test_grey_gif_is_exact_and_may_play_once(tmp_path: Path) -> None:
    frames = steps(5, channels=1)
    path = save_animation(frames, tmp_path / "a.gif", seconds=1, loop=False)
    seen, times = gif_frames(path)
    assert sum(times) == 1000
    for got, expected in zip(seen, to_uint8(frames), strict=True):
        assert np.array_equal(got[..., 0], expected[0].numpy())
    assert "loop" not in Image.open(path).info
    assert read_metadata(path) is None


@pytest.mark.parametrize("frames", [steps(1), steps(1).expand(4, -1, -1, -1)])
def test_frames_that_are_equal(tmp_path: Path, frames: Tensor) -> None:
    path = save_animation(frames, tmp_path / "a.gif", seconds=0.7, hold_last=0.5)
    assert sum(gif_frames(path)[1]) == 1200


def test_more_frames_than_fit_are_thinned(tmp_path: Path) -> None:
    frames = torch.linspace(-1, 1, 256).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    seen, times = gif_frames(save_animation(frames, tmp_path / "a.gif", seconds=1))
    levels = [int(frame[0, 0, 0]) for frame in seen]
    assert len(levels) == 50
    assert (levels[0], levels[-1]) == (0, 255)
    assert set(np.diff(levels)) <= {5, 6}
    assert times == [20] * 50
    assert [
        int(f[0, 0, 0]) for f in gif_frames(save_animation(frames, tmp_path / "b.gif", seconds=0.02))[0]
    ] == [255]


def film(path: Path) -> tuple[list[np.ndarray], float]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return seen, float(stream.duration * stream.time_base)


def test_mp4_has_every_frame(tmp_path: Path) -> None:
    frames = smooth(31, 45) * torch.linspace(0, 1, 9).view(-1, 1, 1, 1)
    path = save_animation(frames, tmp_path / "a.mp4", seconds=3, metadata=RECIPE)
    seen, length = film(path)
    assert len(seen) == 9
    assert length == pytest.approx(3, abs=0.01)
    assert seen[0].shape == (32, 46, 3)  # even sides
    for got, expected in zip(seen, to_uint8(frames), strict=True):
        assert np.abs(got[:31, :45].astype(int) - expected.permute(1, 2, 0).numpy()).mean() < 6
    assert read_metadata(path) == RECIPE
    seen, length = film(save_animation(frames, path, seconds=3, hold_last=1, enlarge=2))
    assert len(seen) == 9 + 3
    assert length == pytest.approx(4, abs=0.01)
    assert seen[0].shape == (62, 90, 3)
    assert read_metadata(path) is None


def test_grey_mp4_of_one_frame(tmp_path: Path) -> None:
    seen, length = film(save_animation(steps(1, 1), tmp_path / "a.mp4", seconds=2))
    assert len(seen) == 1
    assert length == pytest.approx(2, abs=0.01)


def test_mp4_without_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.mp4"
    refused(
        lambda: save_animation(steps(2), path, seconds=1), "pip install 'sfumato[video]'", kind=SfumatoError
    )
    assert list(tmp_path.iterdir()) == []


def test_bad_animations(tmp_path: Path) -> None:
    x, path = steps(3), tmp_path / "a.gif"
    refused(lambda: save_animation(x, tmp_path / "a.png", seconds=1), "extensions .gif, .mp4")
    refused(lambda: save_animation([], path, seconds=1), "one frame or more")
    refused(lambda: save_animation([x[0], x[1, :, :4]], path, seconds=1), "all of one shape")
    for seconds in (0, -1, math.nan, math.inf, 1000):
        refused(lambda seconds=seconds: save_animation(x, path, seconds=seconds), "seconds")
    refused(lambda: save_animation(x, path, seconds=1, hold_last=-1), "hold_last -1")
    refused(lambda: save_animation(x, path, seconds=1, enlarge=0), "enlarge 0")
    refused(lambda: save_animation(x, tmp_path / "a.mp4", seconds=1, loop=True), "leave it out or use .gif")
    wide = torch.zeros(1, 1, 1, 66_000)
    refused(lambda: save_animation(wide, path, seconds=1), "use another format or size", kind=SfumatoError)
    missing = tmp_path / "no" / "a.gif"
    refused(lambda: save_animation(x, missing, seconds=1), "make it first", kind=SfumatoError)
    assert list(tmp_path.iterdir()) == []


def test_the_public_names_are_all_there() -> None:
    assert all(hasattr(pictures, name) for name in pictures.__all__)

"""Animations of the steps of a picture: GIF with one palette, MP4 where PyAV is installed."""

import io
import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.pictures.files import check_destination, encoding, one_line, publish
from sfumato.pictures.grid import check_enlarge, enlarge_pixels
from sfumato.pictures.metadata import load_av, marked, recipe_text
from sfumato.pictures.write import one_picture, pil_image, to_uint8

EXTENSIONS = (".gif", ".mp4")
MAX_RATE = 50  # frames in a second: browsers slow down a GIF that asks for more
MAX_SECONDS = 300.0  # twice of it fits the 16 bits of a GIF's times
_PALETTE_FRAMES = 32  # that the palette is chosen from; the last frame, seen longest, counts as often


def save_animation(
    frames: Tensor | Sequence[Tensor],
    path: str | os.PathLike[str],
    *,
    seconds: float,
    hold_last: float = 0.0,
    loop: bool | None = None,
    enlarge: int = 1,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Writes frames, (N,C,H,W) or a sequence of (C,H,W) in [-1, 1], as .gif or .mp4; returns the path.

    seconds: the length of all frames together. Of more than 50 frames a second, evenly spaced ones are kept,
    among them the first and the last. hold_last: seconds for which the last frame stays in addition.
    loop: whether a GIF starts again (by default it does); an MP4 takes None only.
    enlarge: a whole factor, 1 .. 64, for small pictures: every pixel becomes a square.
    metadata: the recipe, for `read_metadata`.

    A GIF has 256 colours for all its frames (grey is exact) and times in 1/100 s, whose sum is right within
    1/200 s. An MP4 is H.264 in yuv420p; an odd side is padded by repeating its last row or column.

    Errors: UsageError for an unknown extension, no frames, frames of several shapes, a time out of range, or
    loop for an MP4; SfumatoError for an MP4 without PyAV, and as `save_picture`.
    """
    path = check_destination(path, EXTENSIONS)
    film = path.suffix.lower() == ".mp4"
    if film and loop is not None:
        raise UsageError(
            f"loop for {one_line(path)}: an MP4 leaves that to the player; leave it out or use .gif"
        )
    if not 1 / MAX_RATE <= seconds <= MAX_SECONDS or not 0 <= hold_last <= MAX_SECONDS:
        raise UsageError(
            f"seconds {seconds}, hold_last {hold_last}: give {1 / MAX_RATE} to {MAX_SECONDS:.0f} seconds "
            f"and hold the last 0 to {MAX_SECONDS:.0f}"
        )
    check_enlarge(enlarge)
    comment = marked(recipe_text(metadata))
    pixels = _thinned(_stacked(frames), seconds)  # (N,C,H,W) uint8
    with encoding(path, "use another format or size"):
        if film:
            data = _mp4(enlarge_pixels(pixels, enlarge), seconds, hold_last, comment)
        else:
            times = _times(len(pixels), seconds, hold_last)
            data = _gif(pixels, times, loop is not False, enlarge, comment)
    publish(path, data)
    return path


def _stacked(frames: Tensor | Sequence[Tensor]) -> Tensor:
    pictures = [one_picture(frame) for frame in frames]
    shapes = {tuple(picture.shape) for picture in pictures}
    if len(shapes) != 1:
        raise UsageError(f"frames of shapes {sorted(shapes)}: give one frame or more, all of one shape")
    return torch.stack([to_uint8(picture) for picture in pictures])  # (N,C,H,W)


def _thinned(pixels: Tensor, seconds: float) -> Tensor:
    """At most MAX_RATE frames a second, evenly spaced; a single one is the last."""
    count = min(len(pixels), max(1, math.floor(seconds * MAX_RATE)))
    last = len(pixels) - 1
    return pixels[torch.linspace(last, 0, count, dtype=torch.float64).round().long().flip(0)]


def _times(count: int, seconds: float, hold_last: float) -> list[int]:
    """The time of each frame of a GIF in ms: whole hundredths of a second, whose sum does not drift."""
    edges = [round(100 * seconds * index / count) for index in range(count + 1)]  # 1/100 s
    edges[-1] += round(100 * hold_last)
    return [10 * (stop - start) for start, stop in pairwise(edges)]


def _gif(pixels: Tensor, times: list[int], loop: bool, enlarge: int, comment: str | None) -> bytes:
    images = _paletted(pixels)
    size = (images[0].width * enlarge, images[0].height * enlarge)
    images = [image.resize(size, Image.Resampling.NEAREST) for image in images]
    options: dict[str, Any] = {"loop": 0} if loop else {}
    if comment is not None:
        options["comment"] = comment.encode("ascii")
    file = io.BytesIO()
    # Pillow joins frames that are equal and adds up their times.
    images[0].save(
        file, "GIF", save_all=True, append_images=images[1:], duration=times, optimize=False, **options
    )
    return file.getvalue()


def _paletted(pixels: Tensor) -> list[Image.Image]:
    """(N,C,H,W) uint8 -> PIL pictures: grey as it is, RGB in 256 colours chosen over the whole animation."""
    images = [pil_image(frame) for frame in pixels]
    if images[0].mode == "L":
        return images
    some = pixels[:: math.ceil(len(pixels) / _PALETTE_FRAMES)]
    last = pixels[-1:].expand(len(some), -1, -1, -1)
    column = torch.cat([some, last]).permute(1, 0, 2, 3).flatten(1, 2)  # (C,2MH,W)
    palette = pil_image(column).quantize(256, Image.Quantize.MEDIANCUT)
    return [image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images]


def _mp4(pixels: Tensor, seconds: float, hold_last: float, comment: str | None) -> bytes:
    av = load_av()
    rate = (len(pixels) / Fraction(seconds)).limit_denominator(10_000)
    frames = _even(pixels)
    held = [frames[-1]] * math.ceil(hold_last * rate)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        if comment is not None:
            container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in [*frames, *held]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _even(pixels: Tensor) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """(N,C,H,W) uint8 -> N arrays (H,W,3) with even sides."""
    frames = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()  # (N,H,W,3)
    odd = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    return list(np.ascontiguousarray(np.pad(frames, odd, "edge")))

"""Icons to pictures: on white, as large as a margin allows, smoothed down from a larger drawing."""

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.errors import SfumatoError
from sfumato.training.emoji.icons import Icon

MARGIN = 1 / 16  # of the side, on every side of the picture
_FINER = 2  # the drawing's side, in sides of the picture, at least
_LEAST = 256  # pixels on the drawing's side, at least
_FAINT = 8  # of 255: paler than this is not ink


def render(icon: Icon, side: int) -> Tensor:
    """The icon on white, uint8 (3, side, side), its ink centred within the margin.

    Raises:
        SfumatoError: the SVG cannot be drawn or has no ink, or resvg is not installed.
    """
    drawn = _draw(icon, max(_LEAST, _FINER * side))
    alpha = np.asarray(drawn)[..., 3]
    rows, columns = np.nonzero(alpha.max(1) > _FAINT)[0], np.nonzero(alpha.max(0) > _FAINT)[0]
    if len(rows) == 0:
        raise SfumatoError("an icon without ink")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    span = math.ceil(max(bottom - top, right - left) / (1 - 2 * MARGIN))
    ground = Image.new("RGBA", (span, span), "white")
    ink = drawn.crop((left, top, right, bottom))
    ground.alpha_composite(ink, ((span - ink.width) // 2, (span - ink.height) // 2))
    picture = ground.convert("RGB").resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _draw(icon: Icon, side: int) -> Image.Image:
    """The icon in the middle of a clear square, RGBA (side, side)."""
    try:
        import resvg_py
    except ImportError as error:
        raise SfumatoError(
            "emoji are drawn by resvg, which is missing: pip install 'sfumato[train]'"
        ) from error
    longest = max(icon.width, icon.height)
    left, top = icon.left - (longest - icon.width) / 2, icon.top - (longest - icon.height) / 2
    document = icon.document(left, top, longest, longest)
    try:
        png = resvg_py.svg_to_bytes(svg_string=document, width=side, height=side, skip_system_fonts=True)
    except ValueError as error:
        raise SfumatoError(f"an icon cannot be drawn: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # resvg's own failures are no Exception
            raise
        raise SfumatoError(f"an icon cannot be drawn: resvg failed, {error}") from error
    return Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGBA")

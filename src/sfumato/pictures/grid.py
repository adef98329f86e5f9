"""Several pictures on one sheet, without or with labels."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.pictures.read import to_tensor
from sfumato.pictures.write import to_image

MAX_ENLARGE = 64
LABEL_GAP = 6  # pixels between a label and the pictures
_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def enlarge_pixels(x: Tensor, factor: int) -> Tensor:
    """(…,H,W) -> (…,kH,kW): every pixel becomes a k x k square."""
    check_enlarge(factor)
    return x.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def check_enlarge(factor: int) -> None:
    """UsageError unless the factor is a whole number in 1 .. 64."""
    if type(factor) is not int or not 1 <= factor <= MAX_ENLARGE:
        raise UsageError(f"enlarge {factor!r}: give a whole number from 1 to {MAX_ENLARGE}")


def grid(
    pictures: Tensor, columns: int | None = None, padding: int = 2, value: float = 1.0, enlarge: int = 1
) -> Tensor:
    """(N,C,H,W) -> (C,H',W'), row by row; empty cells, gaps and the border have `value`.

    columns: by default the square root of N, rounded up. padding: pixels between and around the pictures.
    enlarge: a whole factor, every pixel becomes a square. H' = rows * (enlarge * H + padding) + padding.
    """
    if pictures.dim() != 4 or pictures.shape[1] not in (1, 3) or not pictures.numel():
        raise UsageError(f"pictures of shape {tuple(pictures.shape)}: give (N,C,H,W), C = 1 or 3, not empty")
    if padding < 0:
        raise UsageError(f"padding {padding}: give 0 pixels or more")
    count = len(pictures)
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    if columns < 1:
        raise UsageError(f"columns {columns}: give 1 or more")
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    cells = F.pad(enlarge_pixels(pictures, enlarge), (padding, 0, padding, 0), value=value)
    empty = cells.new_full((rows * columns - count, *cells.shape[1:]), value)
    cells = torch.cat([cells, empty]).view(rows, columns, *cells.shape[1:])  # (rows,columns,C,H,W)
    sheet = cells.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)  # (C,rows*H,columns*W)
    return F.pad(sheet, (0, padding, 0, padding), value=value)


def labelled_grid(
    rows: Sequence[Tensor],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    padding: int = 2,
    enlarge: int = 1,
    font_size: int = 12,
) -> Tensor:
    """A study sheet: rows of pictures (N,C,H,W) with labels -> float32 (3,H',W') in [-1, 1], black on white.

    Every row has a picture for each column label, all of one size. A label above wraps to the width of its
    column, a label at the left to the width of a picture or of 12 letters, whichever is more. A row is at
    least as high as its label.
    """
    shapes = {tuple(row.shape) for row in rows}
    matched = len(rows) == len(row_labels) and len(shapes) == 1
    if not matched or rows[0].dim() != 4 or len(rows[0]) != len(column_labels):
        raise UsageError(
            f"{len(rows)} rows under {len(row_labels)} labels, of shapes {sorted(shapes)} under "
            f"{len(column_labels)} column labels: give one label to each row and column, and every row "
            "(N,C,H,W) with a picture for each column"
        )
    font = ImageFont.load_default(font_size)
    strips = [to_image(grid(row, len(column_labels), padding, enlarge=enlarge)) for row in rows]
    wide = rows[0].shape[-1] * enlarge
    above = [_label(text, wide, font) for text in column_labels]
    beside = [_label(text, max(wide, 12 * font_size), font) for text in row_labels]
    left = LABEL_GAP + max(label.width for label in beside)
    top = LABEL_GAP + max(label.height for label in above)
    heights = [max(strip.height, label.height) for strip, label in zip(strips, beside, strict=True)]

    sheet = Image.new("RGB", (left + strips[0].width, top + sum(heights)), "white")
    for index, label in enumerate(above):
        middle = left + padding + index * (wide + padding) + wide // 2
        sheet.paste(label, (middle - label.width // 2, 0))
    for strip, label, height in zip(strips, beside, heights, strict=True):
        sheet.paste(label, (0, top + (height - label.height) // 2))
        sheet.paste(strip, (left, top))
        top += height
    return to_tensor(sheet)[0]


def captioned_grid(
    cells: Sequence[Sequence[tuple[Tensor, str]]],
    footers: Sequence[str],
    columns: int | None = None,
    *,
    enlarge: int = 1,
    gap: int = 16,
    font_size: int = 12,
) -> Tensor:
    """A sheet of cells -> float32 (3,H',W') in [-1, 1], black on white.

    A cell is some pictures (C,H,W) beside each other, each above its caption, and a footer below them.
    Captions wrap to the width of their picture, or of 6 letters. columns: by default the square root of the
    number of cells, rounded up. gap: pixels between and around the cells.
    """
    if not cells or len(cells) != len(footers) or not all(cells):
        raise UsageError(
            f"{len(cells)} cells and {len(footers)} footers: give each cell pictures and a footer"
        )
    columns = math.ceil(math.sqrt(len(cells))) if columns is None else columns
    if columns < 1:
        raise UsageError(f"columns {columns}: give 1 or more")
    font = ImageFont.load_default(font_size)
    drawn = [
        _cell(cell, footer, font, enlarge, 6 * font_size) for cell, footer in zip(cells, footers, strict=True)
    ]
    columns = min(columns, len(drawn))
    rows = [drawn[i : i + columns] for i in range(0, len(drawn), columns)]
    wide = max(cell.width for cell in drawn)
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (columns * (wide + gap) + gap, sum(heights) + gap * (len(rows) + 1)), "white")
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for index, cell in enumerate(row):
            sheet.paste(cell, (gap + index * (wide + gap), top))
        top += height + gap
    return to_tensor(sheet)[0]


def _cell(
    cell: Sequence[tuple[Tensor, str]], footer: str, font: _Font, enlarge: int, narrowest: int
) -> Image.Image:
    images = [to_image(enlarge_pixels(x, enlarge)) for x, _ in cell]
    widths = [max(image.width, narrowest) for image in images]
    labels = [_label(text, wide, font) for (_, text), wide in zip(cell, widths, strict=True)]
    across = sum(widths) + LABEL_GAP * (len(widths) - 1)
    below = _label(footer, across, font)
    pictures = max(image.height for image in images) + LABEL_GAP
    captions = max(label.height for label in labels)
    drawn = Image.new("RGB", (across, pictures + captions + below.height), "white")
    left = 0
    for image, label, wide in zip(images, labels, widths, strict=True):
        drawn.paste(image, (left, 0))
        drawn.paste(label, (left, pictures))
        left += wide + LABEL_GAP
    drawn.paste(below, (0, pictures + captions))
    return drawn


def _label(text: str, width: int, font: _Font) -> Image.Image:
    """The text wrapped to `width` pixels, black on a white picture that just holds it."""
    wrapped = "\n".join(line for part in text.splitlines() for line in _lines(part.split(), width, font))
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    _, _, right, bottom = ruler.multiline_textbbox((0, 0), wrapped, font)
    label = Image.new("RGB", (max(1, math.ceil(right)), max(1, math.ceil(bottom))), "white")
    ImageDraw.Draw(label).multiline_text((0, 0), wrapped, "black", font)
    return label


def _lines(words: Sequence[str], width: int, font: _Font) -> list[str]:
    """Words in lines of at most `width` pixels; a word that is wider than a line is broken."""
    lines: list[str] = []
    for word in words:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append(word)
        while len(lines[-1]) > 1 and font.getlength(lines[-1]) > width:
            whole = lines.pop()
            fits = next(
                n for n in range(len(whole) - 1, 0, -1) if n == 1 or font.getlength(whole[:n]) <= width
            )
            lines += [whole[:fits], whole[fits:]]
    return lines

"""What a run made: pictures with the run that makes them again, shown, saved and encoded."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from sfumato.pictures import check_destination, encode_picture, grid, to_image
from sfumato.pictures.files import publish
from sfumato.pictures.grid import enlarge_pixels
from sfumato.pictures.surroundings import Surroundings
from sfumato.recipe import Recipe
from sfumato.runs import Run, write_run

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 256  # pixels: `show` and notebooks enlarge smaller pictures to at least this height


@dataclass(frozen=True, eq=False, repr=False)
class Pictures:
    """What a run made: x (count, C, H, W) in [-1, 1] on the CPU, and the run or recipe of it.

    surroundings: the picture, at its full size, into which each is laid where it is shown, saved or encoded;
    by default that of the run.
    """

    x: Tensor
    made_by: Run | Recipe = field(repr=False)
    surroundings: Surroundings | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.surroundings is None and isinstance(self.made_by, Run):
            object.__setattr__(self, "surroundings", self.made_by.surroundings)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that makes the pictures again."""
        return write_run(self.made_by)[0] if isinstance(self.made_by, Run) else self.made_by

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Pictures:
        """Picture i alone, with its own recipe."""
        i = range(len(self))[i]
        return Pictures(self.x[i : i + 1], self.recipe.single(i), self.surroundings)

    def __iter__(self) -> Iterator[Pictures]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        count, channels, height, width = self.x.shape
        kind = "grey" if channels == 1 else "RGB"
        what = " | ".join(self.recipe.prompts()) or "unconditional"
        seeds = self.recipe.seeds
        seed = f"seed {seeds[0]}" if count == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
        return f"<Pictures: {count} of {width} x {height} {kind}, {what!r:.60}, {seed}>"

    @property
    def images(self) -> list[Image]:
        """The pictures as PIL images, pixel by pixel, laid into their surroundings."""
        return [to_image(self.whole(i)) for i in range(len(self))]

    def whole(self, i: int) -> Tensor:
        """Picture i (C, H, W), laid into its surroundings where there are any."""
        x = self.x[i : i + 1]
        return (x if self.surroundings is None else self.surroundings.around(x))[0]

    def show(self) -> None:
        """Show all pictures on one sheet, in the window that PIL opens."""
        self._sheet().show()

    def _repr_png_(self) -> bytes:
        """All pictures on one sheet, for a notebook."""
        out = io.BytesIO()
        self._sheet().save(out, "PNG")
        return out.getvalue()

    def _sheet(self) -> Image:
        enlarge = max(1, -(-SHOWN // self.x.shape[-2]))
        return to_image(grid(self.x, None, enlarge=enlarge))

    def save(
        self, path: str | Path, *, enlarge: int = 1, numbered: bool | None = None, metadata: bool = True
    ) -> list[Path]:
        """Write each picture with its own recipe; several get their seed into the name.

        enlarge: each pixel becomes so many pixels wide. numbered: whether the seed stands in the name.
        """
        path = check_destination(path)
        numbered = len(self.x) > 1 if numbered is None else numbered
        written = []
        for i, seed in enumerate(self.recipe.seeds):
            name = numbered_path(path, seed) if numbered else path
            publish(name, self.encode(i, path.suffix, enlarge=enlarge, metadata=metadata))
            written.append(name)
        return written

    def save_grid(
        self, path: str | Path, *, columns: int | None = None, enlarge: int = 1, metadata: bool = True
    ) -> Path:
        """Write all pictures as one sheet, without what they are laid into."""
        path = check_destination(path)
        publish(path, self.encode_grid(path.suffix, columns=columns, enlarge=enlarge, metadata=metadata))
        return path

    def encode(
        self, i: int, extension: str, *, enlarge: int = 1, quality: int | None = None, metadata: bool = True
    ) -> bytes:
        """Picture i as `save` would write it under a name with this extension; nothing is written."""
        recipe = self.recipe.single(i)
        layout = {"enlarge": enlarge} if enlarge > 1 else {}
        x = enlarge_pixels(self.whole(i), enlarge)
        return encoded(x, extension, recipe, layout, metadata=metadata, quality=quality)

    def encode_grid(
        self, extension: str, *, columns: int | None = None, enlarge: int = 1, metadata: bool = True
    ) -> bytes:
        """All pictures on one sheet, as `save_grid` would write it; nothing is written."""
        layout = {"sheet": {"columns": columns, "enlarge": enlarge}}
        x = grid(self.x, columns, enlarge=enlarge)
        return encoded(x, extension, self.recipe, layout, metadata=metadata)


def numbered_path(path: Path, seed: int) -> Path:
    """The name of one of several pictures."""
    return path.with_stem(f"{path.stem}-{seed}")


def encoded(
    x: Tensor,
    extension: str,
    recipe: Recipe,
    layout: Mapping[str, object],
    *,
    metadata: bool,
    quality: int | None = None,
) -> bytes:
    """The file of a picture (C, H, W), with what makes it again where `metadata` is wanted."""
    if not metadata:
        return encode_picture(x, extension, quality=quality)
    facts = {"recipe": recipe.plain(), "version": 1, **layout}
    return encode_picture(x, extension, metadata=facts, parameters=recipe.parameters(), quality=quality)

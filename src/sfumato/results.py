"""What a run made: pictures with the run that makes them again, shown, saved and encoded."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from sfumato.pictures import check_encodable, encode_picture, grid, save_picture, to_image
from sfumato.pictures.grid import enlarge_pixels
from sfumato.recipe import Recipe
from sfumato.runs import Run, write_run

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 256  # pixels: `show` and notebooks enlarge smaller pictures to at least this height


@dataclass(frozen=True, eq=False, repr=False)
class Pictures:
    """What a run made: x (count, C, H, W) in [-1, 1] on the CPU, and the run or recipe of it."""

    x: Tensor
    made_by: Run | Recipe = field(repr=False)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that makes the pictures again."""
        return write_run(self.made_by)[0] if isinstance(self.made_by, Run) else self.made_by

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Pictures:
        """Picture i alone, with its own recipe."""
        i = range(len(self))[i]
        return Pictures(self.x[i : i + 1], self.recipe.single(i))

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
        """The pictures as PIL images, pixel by pixel."""
        return [to_image(x) for x in self.x]

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
        path = Path(path)
        numbered = len(self.x) > 1 if numbered is None else numbered
        layout = {"enlarge": enlarge} if enlarge > 1 else {}
        written = []
        for i, x in enumerate(enlarge_pixels(self.x, enlarge)):
            recipe = self.recipe.single(i)
            name = numbered_path(path, recipe.seed) if numbered else path
            written.append(_save(x, name, recipe, layout, metadata=metadata))
        return written

    def encode(self, i: int, extension: str, *, enlarge: int = 1, quality: int | None = None) -> bytes:
        """Picture i as `save` would write it, its recipe inside; nothing is written."""
        recipe = self.recipe.single(i)
        x = enlarge_pixels(self.x[i], enlarge)
        data = _metadata(recipe, {"enlarge": enlarge} if enlarge > 1 else {})
        return encode_picture(x, extension, metadata=data, parameters=recipe.parameters(), quality=quality)

    def save_grid(
        self, path: str | Path, *, columns: int | None = None, enlarge: int = 1, metadata: bool = True
    ) -> Path:
        """Write all pictures as one sheet."""
        layout = {"sheet": {"columns": columns, "enlarge": enlarge}}
        x = grid(self.x, columns, enlarge=enlarge)
        return _save(x, Path(path), self.recipe, layout, metadata=metadata)


def numbered_path(path: Path, seed: int) -> Path:
    """The name of one of several pictures."""
    return path.with_stem(f"{path.stem}-{seed}")


def check_savable(recipe: Recipe, path: Path, *, enlarge: int = 1, alone: bool = True) -> None:
    """Refuse what `save` (alone) or `save_grid` could not write at `path`, before it is made: UsageError."""
    widest = recipe.model_copy(update={"seed": max(recipe.seeds)})
    written = widest.model_copy(update={"count": 1}) if alone else widest
    size = [enlarge * side for side in recipe.made_size] if alone else [1, 1]
    check_encodable(
        path,
        size=(size[0], size[1]),
        metadata=_metadata(written, {"sheet": {"columns": recipe.count, "enlarge": enlarge}}),
        parameters=written.parameters(),
    )


def _save(x: Tensor, path: Path, recipe: Recipe, layout: Mapping[str, object], *, metadata: bool) -> Path:
    if not metadata:
        return save_picture(x, path)
    return save_picture(x, path, metadata=_metadata(recipe, layout), parameters=recipe.parameters())


def _metadata(recipe: Recipe, layout: Mapping[str, object]) -> dict[str, object]:
    """What a picture carries."""
    return {"recipe": recipe.plain(), "version": 1, **layout}

"""What every section works with: the model, the tour, the folder, and the inputs that lie in it.

The tour's pictures and masks are written into the folder at the model's own size, so that the page shows what
the model is shown, and every command and every line on the page runs there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfumato.apps.report.page import Shown
from sfumato.apps.report.said import Said, as_said
from sfumato.apps.report.trainings import Show, Trainings
from sfumato.core.filters import Mask
from sfumato.core.hashed import HashedTensor
from sfumato.errors import UsageError
from sfumato.pictures import picture_size, read_mask, read_picture, save_picture
from sfumato.recipe import InputFile

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.report.tour import Given, Spot, Tour
    from sfumato.models.model import Model


def unseen(done: float, total: float) -> None:
    """A bar that nobody watches."""


@dataclass(kw_only=True)
class Desk:
    """One report being made.

    folder: the pictures; beside: where the tour's own files lie. quick: one picture of each question, and
    nothing is trained. show: moves a bar.
    """

    model: Model
    tour: Tour
    folder: Path
    beside: Path
    quick: bool
    trainings: Trainings
    show: Show = unseen
    files: dict[str, InputFile] = field(default_factory=dict)  # what recipes say of inputs, by sha256

    @property
    def count(self) -> int:
        """Pictures of each question."""
        return 1 if self.quick else self.tour.count

    def lay_out(self) -> None:
        """Write the tour's inputs into the folder.

        Raises:
            UsageError: one cannot be read, or two have one name.
        """
        names = {name: png_name(name) for name in self.tour.files()}
        if len(set(names.values())) < len(names):
            raise UsageError("two pictures of the tour differ only in their folder or extension: rename one")
        channels, *size = self.model.shape
        height, width = size
        tour = self.tour
        for given in (tour.given, tour.other, *tour.translate, *tour.inpaint):
            path = self.beside / given.picture
            x = read_picture(path, size=(height, width), channels=1 if channels == 1 else 3)
            save_picture(x, self.folder / png_name(given.picture))
            self.files[HashedTensor(x).sha256] = InputFile(file=png_name(given.picture))
        for spot in tour.inpaint:
            path, own = self.beside / spot.mask, picture_size(self.beside / spot.picture)
            region = Mask(read_mask(path, size=own, resize=(height, width)))
            save_picture(region.tensor[0] * 2 - 1, self.folder / png_name(spot.mask))
            self.files[region.sha256] = InputFile(file=png_name(spot.mask), kind="mask")

    # -- inputs as they are said

    def network(self) -> Said:
        """The model, in the variable `model`."""
        return model_said(self.model)

    def picture(self, given: Given) -> Said:
        """A picture, in the variable `picture`."""
        return picture_said(self.folder, png_name(given.picture))

    def mask(self, spot: Spot) -> Said:
        """A mask, in the variable `mask`."""
        name = png_name(spot.mask)
        _, height, width = self.model.shape
        region = read_mask(self.folder / name, size=(height, width))
        line = f"mask = sf.read_mask({as_said(name).text}, size=({height}, {width}))"
        return Said(region, "mask", (line,))

    # -- pictures for the page

    def shown(self, file: str, alt: str, caption: str = "") -> Shown:
        """A file of the folder."""
        height, width = picture_size(self.folder / file)
        return Shown(file=file, width=width, height=height, alt=alt, caption=caption)

    def keep(self, x: Tensor, file: str, alt: str, caption: str = "", *, about: str = "") -> Shown:
        """Write a picture that no recipe makes, (1, C, H, W); `about` says in the file where it is from."""
        metadata = {"report": about, "version": 1} if about else None
        save_picture(x.clamp(-1, 1), self.folder / file, metadata=metadata)
        return self.shown(file, alt, caption)


def model_said(model: Model) -> Said:
    """A model by its name, in the arithmetic that it has, in the variable `model`."""
    name = as_said(model.name).text
    if model.dtype is torch.float32:
        return Said(model, "model", (f"model = sf.load({name})",))
    return Said(
        model, "model", (f"model = sf.load({name}, dtype={model.dtype})",), frozenset({"import torch"})
    )


def model_words(model: Model) -> list[str]:
    """The same as options of a command."""
    dtype = str(model.dtype).removeprefix("torch.")
    return ["--model", model.name, *(["--dtype", dtype] if model.dtype is not torch.float32 else [])]


def picture_said(folder: Path, name: str) -> Said:
    """A picture of the folder, in the variable `picture`."""
    line = f"picture = sf.read_picture({as_said(name).text})"
    return Said(read_picture(folder / name), "picture", (line,))


def slug(text: str, most: int = 24) -> str:
    """A text as part of a file name."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:most].strip("-") or "picture"


def distinct(names: Iterator[str]) -> list[str]:
    """The names with a number behind those that were there before."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return out


def png_name(name: str) -> str:
    """What an input is called in the folder."""
    return f"{Path(name).stem}.png"

"""What every section works with: a model, its tour, the folder of pictures, and the inputs in that folder.

The tour's pictures and masks are written into the folder at the model's own size. So the page shows what the
model is shown, and every command and every line on the page runs in that folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfumato.apps.report.page import Picture
from sfumato.apps.report.snippets import Snippet, literal
from sfumato.core.filters import Mask
from sfumato.core.hashed import HashedTensor
from sfumato.errors import UsageError
from sfumato.evaluation.readers import reader_of
from sfumato.pictures import picture_size, read_mask, read_picture, save_picture
from sfumato.recipe import InputFile

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.report.tour import MaskedPicture, Tour, TourPicture
    from sfumato.apps.report.trainings import Trainings
    from sfumato.models.model import Model

OnProgress = Callable[[float, float], None]  # how much of how much is done


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and the tour that it is shown by. tour_folder: where the tour's own files lie."""

    model: Model
    tour: Tour
    tour_folder: Path


@dataclass(kw_only=True)
class Workspace:
    """A section being made.

    section: its id, with which its files begin. folder: of all pictures of the page. quick: one picture of
    each expression, and nothing is trained. on_progress: hears of every step.
    """

    section: str
    subject: Subject
    folder: Path
    quick: bool
    trainings: Trainings | None
    on_progress: OnProgress
    files: dict[str, InputFile] = field(default_factory=dict)  # what recipes say of inputs, by sha256

    @property
    def model(self) -> Model:
        """The model that makes the pictures."""
        return self.subject.model

    @property
    def tour(self) -> Tour:
        """What is made."""
        return self.subject.tour

    @property
    def count(self) -> int:
        """Pictures of each expression."""
        return 1 if self.quick else self.tour.count

    @property
    def best_of(self) -> int | None:
        """Of how many pictures an illusion's are the best; None keeps every picture.

        Where the package has no classifier for the model's pictures, every picture is kept.
        """
        if self.quick or self.tour.best_of is None:
            return None
        try:
            reader_of(self.model)
        except UsageError:
            return None
        return self.tour.best_of

    # -- inputs as snippets

    def input_picture(self, given: TourPicture) -> Snippet:
        """A picture of the tour, in the variable `picture`."""
        return picture_snippet(self.folder, png_name(given.picture))

    def mask(self, masked: MaskedPicture) -> Snippet:
        """A mask of the tour, in the variable `mask`."""
        name = png_name(masked.mask)
        _, height, width = self.model.shape
        region = read_mask(self.folder / name, size=(height, width))
        line = f"mask = sf.read_mask({literal(name).text}, size=({height}, {width}))"
        return Snippet(region, "mask", (line,))

    # -- pictures for the page

    def picture(self, file: str, alt: str, caption: str = "") -> Picture:
        """A file of the folder."""
        height, width = picture_size(self.folder / file)
        return Picture(file=file, width=width, height=height, alt=alt, caption=caption)

    def save(self, x: Tensor, file: str, alt: str, caption: str = "", *, about: str = "") -> Picture:
        """Write a picture that no recipe makes, (1, C, H, W); `about` says in the file where it is from."""
        metadata = {"report": about, "version": 1} if about else None
        save_picture(x.clamp(-1, 1), self.folder / file, metadata=metadata)
        return self.picture(file, alt, caption)


def write_inputs(subject: Subject, folder: Path) -> dict[str, InputFile]:
    """Write the tour's inputs into the folder; returns what recipes say of them, by sha256.

    Raises:
        UsageError: one cannot be read, or two have one name.
    """
    tour, beside = subject.tour, subject.tour_folder
    if len({png_name(name) for name in tour.files()}) < len(tour.files()):
        raise UsageError("two pictures of the tour differ only in their folder or extension: rename one")
    channels, size = subject.model.shape[0], subject.model.shape[1:]
    files = {}
    for given in tour.pictures():
        name = png_name(given.picture)
        x = read_picture(beside / given.picture, size=size, channels=channels)
        save_picture(x, folder / name)
        files[HashedTensor(x).sha256] = InputFile(file=name, fit="top")
    for masked in tour.inpaint:
        name = png_name(masked.mask)
        own = picture_size(beside / masked.picture)
        region = Mask(read_mask(beside / masked.mask, size=own, resize=size))
        save_picture(region.tensor[0] * 2 - 1, folder / name)
        files[region.sha256] = InputFile(file=name, kind="mask", fit="top")
    return files


def model_snippet(model: Model) -> Snippet:
    """A model by its name, in the arithmetic that it has, in the variable `model`."""
    name = literal(model.name).text
    if model.dtype is torch.float32:
        return Snippet(model, "model", (f"model = sf.load({name})",))
    line = f"model = sf.load({name}, dtype={model.dtype})"
    return Snippet(model, "model", (line,), frozenset({"import torch"}))


def picture_snippet(folder: Path, name: str) -> Snippet:
    """A picture of the folder, in the variable `picture`."""
    line = f"picture = sf.read_picture({literal(name).text})"
    return Snippet(read_picture(folder / name), "picture", (line,))


def slug(text: str, most: int = 24) -> str:
    """A text as part of a file name."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:most].strip("-") or "picture"


def png_name(name: str) -> str:
    """What an input is called in the folder."""
    return f"{Path(name).stem}.png"

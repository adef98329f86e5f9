"""A tour: the prompts, pictures, masks and seeds of a report, as one YAML file.

`tours/emoji.yaml` says of every field what it is for. The tours of the demo are `tours/demo-*.yaml`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sfumato.core.views import make_view
from sfumato.errors import UsageError
from sfumato.parsing import parse_yaml, read_regular, text_of
from sfumato.recipe import first_error

if TYPE_CHECKING:
    from sfumato.models.model import Model

MAX_BYTES = 200_000
Text = Annotated[str, Field(min_length=1, max_length=300)]
Seed = Annotated[int, Field(ge=0, le=2**63)]
Steps = Annotated[int, Field(ge=1, le=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TourPicture(_Part):
    """A picture file beside the tour."""

    picture: Text


class PromptedPicture(TourPicture):
    """A picture, what it becomes or shows, and a note on where it is from."""

    prompt: Text
    about: str = ""


class CleanPicture(TourPicture):
    """A picture that is noised and denoised; without a prompt by the unconditional estimate."""

    prompt: Text | None = None


class MaskedPicture(PromptedPicture):
    """A picture, the mask of the pixels to make, and the prompt of the whole."""

    mask: Text


class Seeded(_Part):
    """Pictures that may have a seed of their own."""

    seed: Seed | None = None


class Anagram(Seeded):
    """Two readings: upright, and through a view."""

    upright: Text
    seen: Text
    view: Text = "flip"

    @field_validator("view")
    @classmethod
    def _known(cls, view: str) -> str:
        make_view(view)
        return view


class Hybrid(Seeded):
    """Two subjects: from afar and from near. sigma: see `sfumato.hybrid`."""

    far: Text
    near: Text
    sigma: float = Field(default=2.0, gt=0, le=32)


class ThreeBands(Seeded):
    """Three subjects: from afar, in between, from near."""

    far: Text
    middle: Text
    near: Text


class Negation(Seeded):
    """A subject, and what it must not have."""

    what: Text
    without: Text


class Nested(Anagram):
    """An anagram whose upright reading is a hybrid of `upright`, seen from afar, and `near`."""

    near: Text


class Wide(Seeded):
    """A prompt on a canvas `times` as wide as the model's pictures."""

    prompt: Text
    times: int = Field(default=3, ge=2, le=16)


class Tour(_Part):
    """What a report shows of a model. A field that a tour leaves out leaves its pictures out of the page."""

    seed: Seed = 777
    count: int = Field(default=3, ge=1, le=16)
    best_of: int | None = Field(default=None, ge=1, le=256)
    prompts: tuple[Text, ...] = Field(default=(), max_length=10)
    steps: tuple[Steps, ...] = Field(default=(10, 50), min_length=1, max_length=4)
    given: CleanPicture | None = None
    levels: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, max_length=5
    )
    guided: Text | None = None
    scales: tuple[float, ...] = Field(default=(1, 2, 4, 7, 10), min_length=2, max_length=8)
    translate: tuple[PromptedPicture, ...] = Field(default=(), max_length=6)
    other: PromptedPicture | None = None
    starts: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(1, 3, 5, 7, 10, 20), min_length=1)
    of: Steps = 30
    inpaint: tuple[MaskedPicture, ...] = Field(default=(), max_length=6)
    jump: Steps = 5
    repeats: int = Field(default=4, ge=1, le=20)
    anagrams: tuple[Anagram, ...] = Field(default=(), max_length=12)
    hybrids: tuple[Hybrid, ...] = Field(default=(), max_length=6)
    three: ThreeBands | None = None
    both: tuple[Text, Text] | None = None
    without: Negation | None = None
    nested: Nested | None = None
    wide: Wide | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Tour:
        if max(self.starts) >= self.of:
            raise ValueError(f"starts: {max(self.starts)} is not one of the steps 0 .. {self.of - 1}")
        if self.best_of is not None and self.best_of < self.count:
            raise ValueError(f"best_of: the best {self.count} of {self.best_of} cannot be kept")
        return self

    def pictures(self) -> tuple[TourPicture, ...]:
        """The pictures that it names."""
        single = (picture for picture in (self.given, self.other) if picture is not None)
        return (*single, *self.translate, *self.inpaint)

    def files(self) -> tuple[str, ...]:
        """The pictures and masks that it names, each once."""
        masks = (masked.mask for masked in self.inpaint)
        return tuple(dict.fromkeys([*(given.picture for given in self.pictures()), *masks]))

    def seed_of(self, what: Seeded) -> int:
        """The seed of some pictures: their own, or the tour's."""
        return self.seed if what.seed is None else what.seed


def read_tour(path: Path) -> Tour:
    """The tour of a file; its pictures lie beside it.

    Raises:
        UsageError: the file or one of its pictures is missing, or a field is wrong; the first one is named.
    """
    try:
        data: Any = parse_yaml(text_of(read_regular(path, MAX_BYTES)))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not YAML that can be read: {error}") from error
    try:
        tour = Tour.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_error(error)}") from error
    for name in tour.files():
        if not (path.parent / name).is_file():
            raise UsageError(f"{path} names {name}, which is not beside it")
    return tour


def shipped_tour(name: str) -> Path:
    """The file of a tour that ships."""
    return Path(str(files("sfumato"))) / "apps" / "report" / "tours" / f"{name}.yaml"


def default_tour(model: Model) -> Path:
    """The tour that ships for a model: one for those that know classes, one for those that know words."""
    return shipped_tour("digits" if model.class_names else "emoji")

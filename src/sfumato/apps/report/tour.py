"""A tour: the prompts, pictures, masks and seeds of a report, as one YAML file.

The tours that ship, `tours/emoji.yaml` and `tours/digits.yaml`, say of every field what it is for.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sfumato.core.filters import make_filter
from sfumato.core.views import make_view
from sfumato.errors import UsageError
from sfumato.recipe import first_error

if TYPE_CHECKING:
    from sfumato.models.model import Model

MAX_BYTES = 200_000
Text = Annotated[str, Field(min_length=1, max_length=300)]
Seed = Annotated[int, Field(ge=0, le=2**63)]
Steps = Annotated[int, Field(ge=1, le=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Given(_Part):
    """A picture file beside the tour, and what a prompt says of it."""

    picture: Text
    prompt: Text
    about: str = ""


class Spot(Given):
    """A picture, the mask of what is made anew, and the prompt of the whole."""

    mask: Text


class Anagram(_Part):
    """Two readings: upright, and through a view."""

    upright: Text
    seen: Text
    view: Text = "flip"
    seed: Seed | None = None

    @field_validator("view")
    @classmethod
    def _known(cls, view: str) -> str:
        make_view(view)
        return view


class Hybrid(_Part):
    """Two subjects: from afar and from near. sigma: see `sfumato.hybrid`."""

    far: Text
    near: Text
    sigma: float = Field(default=2.0, gt=0, le=32)
    seed: Seed | None = None

    @field_validator("sigma")
    @classmethod
    def _sound(cls, sigma: float) -> float:
        make_filter(f"low_pass:sigma={sigma}")
        return sigma


class ThreeWay(_Part):
    """Three subjects: from afar, in between, from near."""

    far: Text
    middle: Text
    near: Text
    seed: Seed | None = None


class Without(_Part):
    """A subject, and what it must not have."""

    what: Text
    without: Text
    seed: Seed | None = None


class Nested(Anagram):
    """An anagram whose upright reading is a hybrid: `far` (upright) and `near`; `seen` is the other one."""

    near: Text


class Wide(_Part):
    """A prompt on a canvas `times` as wide as the model's pictures."""

    prompt: Text
    times: int = Field(default=3, ge=2, le=16)
    seed: Seed | None = None


class Tour(_Part):
    """Everything that a report of Part A asks; Part B has nothing to be chosen."""

    seed: Seed = 777
    count: int = Field(default=3, ge=1, le=16)
    prompts: tuple[Text, ...] = Field(min_length=1, max_length=8)
    steps: tuple[Steps, ...] = Field(default=(10, 50), min_length=1, max_length=4)
    given: Given
    levels: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, max_length=5
    )
    guided: Text
    scales: tuple[float, ...] = Field(default=(1, 2, 4, 7, 10), min_length=2, max_length=8)
    translate: tuple[Given, ...] = Field(min_length=1, max_length=6)
    other: Given
    starts: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(1, 3, 5, 7, 10, 20), min_length=1)
    of: Steps = 30
    inpaint: tuple[Spot, ...] = Field(min_length=1, max_length=6)
    jump: Steps = 5
    repeats: int = Field(default=4, ge=2, le=20)
    anagrams: tuple[Anagram, ...] = Field(min_length=1, max_length=12)
    hybrids: tuple[Hybrid, ...] = Field(min_length=1, max_length=6)
    three: ThreeWay
    both: tuple[Text, Text]
    without: Without
    nested: Nested
    wide: Wide

    @model_validator(mode="after")
    def _consistent(self) -> Tour:
        if max(self.starts) >= self.of:
            raise ValueError(f"starts: {max(self.starts)} is not one of the steps 0 .. {self.of - 1}")
        return self

    def files(self) -> tuple[str, ...]:
        """The pictures and masks that it names, each once."""
        pictures = [g.picture for g in (self.given, self.other, *self.translate, *self.inpaint)]
        return tuple(dict.fromkeys([*pictures, *(spot.mask for spot in self.inpaint)]))


def read_tour(path: Path) -> Tour:
    """The tour of a file; its pictures lie beside it.

    Raises:
        UsageError: no such file, no tour, or a picture that is not there; the first wrong field is named.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is over {MAX_BYTES} bytes: a tour is a short YAML file")
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        tour = Tour.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_error(error)}") from error
    for name in tour.files():
        if not (path.parent / name).is_file():
            raise UsageError(f"{path} names {name}, which is not beside it")
    return tour


def default_tour(model: Model) -> Path:
    """The tour that ships for a model: one for those that know classes, one for those that know words."""
    name = "digits" if model.class_names else "emoji"
    return Path(str(files("sfumato"))) / "apps" / "report" / "tours" / f"{name}.yaml"

"""A recipe: everything that makes one picture, as one validated JSON-able value.

It is what a picture carries, what `replay` runs again and what a recipe file holds; there is no second way to
describe a picture. Input pictures stand in it by the sha256 of their values; `inputs` says from which files
they came, so that they can be read again and checked.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sfumato.errors import UsageError, first_line
from sfumato.parsing import parse_json, parse_yaml, read_regular, text_of
from sfumato.pictures.fitting import Fit
from sfumato.version import __version__

MAX_RECIPE_BYTES = 1_000_000
MAX_COUNT, MAX_SIDE = 100_000, 8192


def no_truth(value: Any) -> Any:
    """The value, unless it is true or false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


Whole = Annotated[int, BeforeValidator(no_truth)]
Real = Annotated[float, BeforeValidator(no_truth)]
Option = Annotated[float | str, BeforeValidator(no_truth)]
Side = Annotated[Whole, Field(ge=1, le=MAX_SIDE)]


class InputFile(BaseModel):
    """Where an input picture was read from, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    kind: Literal["picture", "mask"] = "picture"
    convention: Literal["white", "alpha"] = "white"  # masks only: what marks the pixels to be made
    fit: Fit = "crop"  #                               how it was brought to the size; sfumato 0.1 cropped


class Stage(BaseModel):
    """How the pictures of one size are sampled, by one model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(min_length=1, max_length=1000)
    weights: str | None = None  #                       sha256 of the model's weights
    expression: dict[str, Any]  #                       core/notation.py
    steps: Whole = Field(ge=1, le=10_000)
    spacing: str = "trailing"
    until: Real = Field(default=0.0, ge=0, lt=1)  #    the path is left there, by one step to data
    solver: str = "dpm++2m"
    options: dict[str, Option] = {}  #                  of the solver, such as {"eta": 0.5}
    size: tuple[Side, Side]  #                          (H, W)
    in_pixels: bool = False  #                          views and filters of latents act on decoded estimates
    # The time up to which the low-resolution picture is noised; for models that make a picture larger.
    low_t: Real | None = Field(default=None, gt=0, le=1)


class Recipe(Stage):
    """Everything that makes `count` pictures; picture i has the seed `seed + i` and can be made alone.

    Its own fields are those of the first stage; each of `stages` makes larger what the one before made, and
    draws its noise where that one left off.
    """

    version: Literal[1] = 1
    # What the networks were computed in; in another one pictures differ by some grey levels.
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    stages: tuple[Stage, ...] = Field(default=(), max_length=8)
    strength: Real = Field(default=1.0, gt=0, le=1)
    start_time: Real | None = Field(default=None, gt=0)  # instead of strength: the steps begin at this time
    start: str | None = None  #                         sha256 of the picture that sampling starts from
    low: str | None = None  #                           sha256 of the picture that is made larger
    keep: str | None = None  #                          sha256 of the picture whose pixels stay ...
    mask: str | None = None  #                          ... outside this mask
    jump: Whole = Field(default=10, ge=1, le=1000)
    repeats: Whole = Field(default=1, ge=1, le=100)
    seed: Whole = Field(ge=0, le=2**64 - 1)
    count: Whole = Field(default=1, ge=1, le=MAX_COUNT)
    inputs: dict[str, InputFile] = {}
    # Python objects of the user's own: the recipe alone does not make these pictures again
    custom: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Recipe:
        if (self.keep is None) != (self.mask is None):
            raise ValueError("keep and mask go together: the pixels of one stay outside the other")
        if (self.low is None) != (self.low_t is None):
            raise ValueError("low and low_t go together: a picture to make larger, and how far it is noised")
        if any(stage.low_t is None for stage in self.stages):
            raise ValueError("each of stages needs low_t: how far the picture before it is noised")
        return self

    @property
    def made_size(self) -> tuple[int, int]:
        """(H, W) of the pictures that are made: those of the last stage."""
        return (self.stages or (self,))[-1].size

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture."""
        return seeds_of(self.seed, self.count)

    def single(self, i: int) -> Recipe:
        """The recipe of picture i alone."""
        return self.model_copy(update={"seed": self.seeds[i], "count": 1})

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON-able data, today's defaults included."""
        data = {"version": self.version, **self.model_dump(mode="json", exclude_none=True)}
        if not self.custom:
            del data["custom"]
        return data

    def prompts(self) -> list[str]:
        """The prompts and classes, in the order of reading, each once."""
        return list(dict.fromkeys(_conditions(self.expression, ("prompt", "label"))))

    def parameters(self) -> str:
        """The text that other tools read: prompt, negative prompt, settings (the web UI's convention)."""
        negative = list(dict.fromkeys(_conditions(self.expression, ("negative",))))
        settings: dict[str, object] = {
            "Steps": self.steps,
            "Sampler": self.solver,
            "CFG scale": next(_guidance(self.expression), "by noise level"),
            "Seed": self.seed,
            "Size": f"{self.made_size[1]}x{self.made_size[0]}",
            "Model": " + ".join(stage.model for stage in (self, *self.stages)),
        }
        if self.strength < 1:
            settings["Denoising strength"] = self.strength
        settings["Version"] = f"sfumato {__version__}"
        lines = [" | ".join(self.prompts()) or "unconditional"]
        if negative:
            lines.append(f"Negative prompt: {' | '.join(negative)}")
        lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in settings.items()))
        return "\n".join(lines)


def seeds_of(seed: int, count: int) -> list[int]:
    """The seed of each of `count` pictures; past 2**64 - 1 they go on from 0."""
    return [(seed + i) % 2**64 for i in range(count)]


def _quoted(value: object) -> str:
    """A setting as other tools read it: in double quotes where it holds what stands between settings."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:"\n') else text


def _nodes(e: Any) -> Iterator[dict[str, Any]]:
    if isinstance(e, dict):
        yield e
        yield from _nodes(e.get("of"))
        for term in (*e.get("sum", ()), *e.get("over", ())):
            yield from _nodes(term)


def _conditions(e: Any, keys: tuple[str, ...]) -> Iterator[str]:
    for node in _nodes(e):
        for key in keys:
            if key in node:
                value = node[key]
                if value != {"unconditional": True}:
                    yield str(next(iter(value.values()))) if isinstance(value, dict) else str(value)


def _guidance(e: Any) -> Iterator[Any]:
    for node in _nodes(e):
        if isinstance(node.get("guided"), int | float):
            yield node["guided"]


def parse_recipe(data: Any) -> Recipe:
    """A recipe from plain data; UsageError in one line names the first field that is wrong."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"recipe: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """The first complaint of pydantic, in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    given = "" if first["type"] == "missing" else f" (given: {reprlib.repr(first['input'])})"
    return f"{where}: {first['msg']}{given}" if where else first["msg"]


def read_recipe(path: Path) -> Recipe:
    """A recipe from a .yaml or .json file."""
    try:
        text = text_of(read_regular(path, MAX_RECIPE_BYTES))
        data = parse_json(text) if path.suffix.lower() == ".json" else parse_yaml(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a recipe that can be read ({first_line(error):.200})") from error
    return parse_recipe(data)

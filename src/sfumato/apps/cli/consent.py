"""What a recipe of someone else may do unasked: a picture may ask for hours of work, or for gigabytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.recipe import Recipe

MOST_STEPS = 10_000  # of one picture, in all stages and repeats

Yes = Annotated[
    bool, Option("--yes", "-y", help="Do what the recipe asks for, also where it is costly, without asking.")
]


def check_work(recipes: Sequence[Recipe], picture: Path, *, yes: bool) -> None:
    """Ask before the recipes of a picture make more pictures than it holds, or take very many steps.

    Raises:
        UsageError: nobody is there to ask, or the answer is no.
    """
    from sfumato.pictures import picture_size

    height, width = picture_size(picture)
    count = sum(recipe.count for recipe in recipes)
    made = sum(recipe.count * recipe.made_size[0] * recipe.made_size[1] for recipe in recipes)
    if count > 1 and made > height * width:
        ask(
            f"the recipe makes {count:,} pictures, {made:,} pixels, and {picture} has {height * width:,}",
            yes=yes,
        )
    steps = max(
        recipe.steps * recipe.repeats + sum(stage.steps for stage in recipe.stages) for recipe in recipes
    )
    if steps > MOST_STEPS:
        ask(f"the recipe takes up to {steps:,} steps for a picture", yes=yes)


def hub_models(names: Sequence[str]) -> list[str]:
    """Which of the models of a recipe would be fetched from the hub."""
    from sfumato.models.files.registry import HUB, MODELS
    from sfumato.models.pretrained import is_repository

    unknown = (name for name in names if name not in MODELS and not Path(name).exists())
    return [name for name in unknown if name in HUB or is_repository(name)]


def ask(what: str, *, yes: bool) -> None:
    """Go on after a yes, by --yes or on the terminal; else UsageError."""
    if yes or (sys.stdin.isatty() and typer.confirm(f"{what}. Go on?", err=True)):
        return
    raise UsageError(f"{what}: --yes does it all the same")

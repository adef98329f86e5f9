"""Sheets with captions: prompt, reading and seed under each picture; illusions in each of their readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.evaluation.illusions import Look
    from sfumato.recipe import Recipe

SMALL = 4  # times smaller: how a hybrid is seen from afar


def captioned_sheet(x: Tensor, recipe: Recipe, columns: int | None, enlarge: int) -> Tensor:
    """The pictures (N, C, H, W) of a recipe on one sheet, (3, H', W')."""
    from sfumato.pictures import captioned_grid

    seen = looks_at(recipe)
    prompts = " | ".join(recipe.prompts()) or "anything"
    cells = [readings(x[i : i + 1], seen) or [(x[i], prompts)] for i in range(len(x))]
    return captioned_grid(cells, [f"seed {seed}" for seed in recipe.seeds], columns, enlarge=enlarge)


def readings(x: Tensor, seen: Sequence[Look]) -> list[tuple[Tensor, str]]:
    """The readings of a picture (1, C, H, W), each with its caption; none where it has one alone.

    A hybrid is seen near, blurred and small; another illusion through each of its views.
    """
    from torch.nn.functional import interpolate

    from sfumato.core.views import View
    from sfumato.evaluation.illusions import Distant

    far = next((look for look in seen if any(isinstance(step, Distant) for step in look.steps)), None)
    if far is not None:
        near = " | ".join(look.text for look in seen if look is not far)
        small = interpolate(x, scale_factor=1 / SMALL, mode="area")[0]
        return [(x[0], f"near: {near}"), (far.at(x)[0], f"blurred: {far.text}"), (small, "small")]
    turned = [look for look in seen if any(isinstance(step, View) for step in look.steps)]
    if not turned:
        return []
    return [(look.at(x)[0], _caption(look)) for look in seen]


def _caption(look: Look) -> str:
    """A reading in words, with the names of its views."""
    from sfumato.core.views import View

    names = [step.name.replace("_", " ") for step in look.steps if isinstance(step, View)]
    return f"{look.text} ({', '.join(names)})" if names else look.text


def looks_at(recipe: Recipe) -> Sequence[Look]:
    """The looks at the pictures of a recipe; none where it is no illusion, or needs pictures to be read."""
    from sfumato.core.notation import from_json
    from sfumato.errors import UsageError
    from sfumato.evaluation.illusions import looks

    try:
        return looks(from_json(recipe.expression, {}))
    except UsageError:
        return ()

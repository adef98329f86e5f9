"""Sheets of several runs: one picture of every class, one edit at several strengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.cli.progress import Bar
    from sfumato.core.sampler import Step
    from sfumato.models.model import Model
    from sfumato.results import Pictures
    from sfumato.run import Run


def one_of_each(model: Model, per_class: int, seed: int, bar: Bar | None = None) -> list[Pictures]:
    """So many pictures of every class the model knows, or of none if it knows none; no two share a seed."""
    from sfumato.core.expression import label, unconditional
    from sfumato.sampling import make_run

    questions = [label(i) for i in range(len(model.class_names))] or [unconditional()]
    jobs = [
        make_run(model, question, seed=seed + i * per_class, count=per_class)
        for i, question in enumerate(questions)
    ]
    return together(jobs, bar)


def together(jobs: Sequence[Run], bar: Bar | None = None) -> list[Pictures]:
    """The pictures of several recipes, sharing forward passes, with a bar over the steps of all."""
    from sfumato.sampling import run_together

    done = 0

    def on_step(step: Step) -> None:
        nonlocal done
        done += 1
        if bar is not None:
            bar.show(done, len(jobs) * step.total)

    return run_together(jobs, on_step=on_step)


def save_sheet(
    parts: Sequence[Pictures], path: Path, *, columns: int, enlarge: int, metadata: bool = True
) -> Path:
    """The pictures of several runs on one sheet, which carries all their recipes."""
    import torch

    from sfumato.pictures import grid, save_picture

    x = grid(torch.cat([part.x for part in parts]), columns, enlarge=enlarge)
    if not metadata:
        return save_picture(x, path)
    carried = {
        "recipes": [part.recipe.plain() for part in parts],
        "version": 1,
        "sheet": {"columns": columns, "enlarge": enlarge},
    }
    return save_picture(x, path, metadata=carried, parameters=parts[0].recipe.parameters())


def lower_half(model: Model) -> Tensor:
    """A mask picture (1, H, W): white in the lower half, black above."""
    import torch

    _, height, width = model.shape
    rows = torch.arange(height) >= height // 2
    return (rows.float() * 2 - 1)[None, :, None].expand(1, height, width)

"""The time that one batched forward pass for all queries of a step saves, against one for each query.

Both sides run the same network on the same rows in the same process. Both evaluate equal queries once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

import sfumato as sf
from bench.timing import in_turn
from sfumato.core.frame import Condition
from sfumato.core.prediction import Estimate


class BranchByBranch:
    """The same network, called once for every query, as code without an engine does."""

    def __init__(self, model: sf.Model, pictures: int) -> None:
        self.model, self.pictures = model, pictures

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: Sequence[Condition]) -> Estimate:
        n = self.pictures
        rows = [slice(i, i + n) for i in range(0, len(x), n)]
        parts = [self.model.denoise(x[r], t[r], conditions[r]) for r in rows]
        learned = [part.variance for part in parts if part.variance is not None]
        return Estimate(
            x0=torch.cat([part.x0 for part in parts]), variance=torch.cat(learned) if learned else None
        )


def measure(
    model: sf.Model, prompts: tuple[str, str], *, pictures: int, steps: int, repeats: int
) -> dict[str, tuple[float, float]]:
    """Seconds together and branch by branch, of each expression."""
    one, other = prompts
    apart = BranchByBranch(model, pictures)
    works = {
        "guided": sf.prompt(one).guided(3),
        "guided hybrid": sf.hybrid(far=one, near=other).guided(3),
        "guided anagram, two views": sf.anagram(one, other, view="rotate_180").guided(3),
    }
    found = {}
    for name, e in works.items():
        settings = {"seed": 0, "count": pictures, "steps": steps}
        times = in_turn(
            {
                "together": partial(sf.sample, model, e, **settings),
                "apart": partial(sf.sample, apart, e, **settings),  # type: ignore[arg-type]
            },
            repeats,
            model.device,
        )
        found[name] = times["together"], times["apart"]
    return found

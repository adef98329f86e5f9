"""What a run costs, counted by arithmetic before anything is built, and the limit for recipes of others.

The server, the studio and `replay` refuse what costs more: 150 bytes may ask for a million windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sfumato.core.work import Work
from sfumato.errors import UsageError
from sfumato.runs import Run, Stage

MAX_ROWS = 100_000  #    of a whole recipe: the rows that its networks are given, in all pictures and steps
MAX_PASSES = 2**28  #    of one picture in one step: the pixels that views and filters go over


@dataclass(frozen=True, kw_only=True)
class Cost:
    """At most what a run costs.

    stages: of each stage the estimates asked for (one a step, with Heun two) and the work for one of them
    """

    pictures: int
    stages: tuple[tuple[int, Work], ...]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.pictures * sum(steps * work.leaves for steps, work in self.stages)

    def __str__(self) -> str:
        stages = " + ".join(f"{steps:,} steps x {work.leaves:,} rows" for steps, work in self.stages)
        return f"{self.pictures:,} x ({stages})"


def cost_of(run: Run) -> Cost:
    """What a run costs at most."""
    return Cost(pictures=run.count, stages=tuple(_stage_cost(stage) for stage in run.stages))


def _stage_cost(stage: Stage) -> tuple[int, Work]:
    native = (stage.model.shape[1], stage.model.shape[2])
    work = stage.expression.work(stage.size, native)
    return stage.path.most_steps * stage.solver.evaluations, work


def check_cost(costs: Sequence[Cost], most: int = MAX_ROWS, *, instead: str) -> None:
    """Refuse what costs more than `most` rows together, or too much for one step: UsageError.

    instead: what to do then.
    """
    rows = sum(cost.rows for cost in costs)
    if rows > most:
        parts = " + ".join(map(str, costs[:3])) + (" + ..." if len(costs) > 3 else "")
        raise UsageError(
            f"this asks for up to {rows:,} rows of the network, {parts}, and at most {most:,} are allowed: "
            f"{instead}"
        )
    passes = max(work.passes for cost in costs for _, work in cost.stages)
    if passes > MAX_PASSES:
        raise UsageError(
            f"the views and filters of this go over {passes:,} pixels in a step, and at most {MAX_PASSES:,} "
            f"are allowed: {instead}"
        )

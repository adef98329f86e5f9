"""The loop. It yields the queries of a step and receives their answers, so the same code runs one picture
in a notebook and many requests in a server, each at its own step.

Along a path t_0 > t_1 > ... > 0 a solver takes x_t to x_s; where the path turns up, noise is added back and
the solver's history starts anew. x is float32 whatever the network's dtype.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from torch import Tensor

from sfumato.core.engine import SamplerCoroutine
from sfumato.core.expression import Expression
from sfumato.core.frame import Answers, Frame, LowResolution, Query
from sfumato.core.noise import DrawNoise
from sfumato.core.prediction import Estimate, add_noise
from sfumato.core.schedule import Level, Schedule
from sfumato.core.solvers import PreviousStep, Solver, StepState, renoise


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What `on_step` sees after a downward step."""

    index: int  #       0, 1, ... of `total`
    total: int
    t: float  #         the time of x
    x: Tensor  #        (B, C, H, W), the state that the step began from
    x0: Tensor  #       (B, C, H, W), the estimate made there


# Returns True to stop after this step; the run then ends with the estimate at hand.
OnStep = Callable[[Step], bool | None]


class Constraint(Protocol):
    """What the state must satisfy."""

    def project(self, x: Tensor, now: Level, draw: DrawNoise) -> Tensor:
        """The state before a downward step, (B, C, H, W) at level `now`."""

    def finish(self, x0: Tensor) -> Tensor:
        """The pictures at the end, (B, C, H, W)."""


@dataclass(frozen=True, eq=False)
class KnownRegion:
    """RePaint's constraint (Lugmayr et al. 2022, eq. 8a): outside the mask the state is the noised picture.

    picture (1, C, H, W) in [-1, 1]; mask (1, 1, H, W), 1 where pixels are made. The known pixels of the
    result are exactly the picture's.
    """

    picture: Tensor
    mask: Tensor

    def project(self, x: Tensor, now: Level, draw: DrawNoise) -> Tensor:
        known = add_noise(self.picture.expand_as(x), draw(), now.alpha, now.sigma)
        return x.where(self.mask > 0, known)  # a blend of two noises would have too little variance

    def finish(self, x0: Tensor) -> Tensor:
        return x0.where(self.mask > 0, self.picture.expand_as(x0))


def sampler(
    expression: Expression,
    *,
    x: Tensor,
    path: Sequence[float],
    schedule: Schedule,
    solver: Solver,
    draw: DrawNoise,
    native: tuple[int, int] | None = None,
    low_resolution: LowResolution | None = None,
    seeds: Sequence[int] = (),
    constraint: Constraint | None = None,
    on_step: OnStep | None = None,
) -> SamplerCoroutine:
    """Sample an expression along a path from x at path[0], (B, C, H, W); returns the state at path[-1].

    native: (H, W) that the network was trained at (for crops). low_resolution: the small pictures of a run
    that upscales. seeds: of the B pictures, by which prompts with styles choose one. draw: fresh noise of
    x's shape.
    """
    levels = [schedule.level(t) for t in path]
    history: list[PreviousStep] = []
    memory: dict[object, object] = {}
    down = sum(to.t < now.t for now, to in pairwise(levels))
    index = 0
    for now, to in pairwise(levels):
        if to.t > now.t:
            x = renoise(x, now, to, draw())
            history.clear()
            memory.clear()
            continue
        if constraint is not None:
            x = constraint.project(x, now, draw)
        estimates: list[Estimate] = []

        def denoise(
            x: Tensor, level: Level, to: Level = to, estimates: list[Estimate] = estimates
        ) -> Generator[list[Query], Answers, Estimate]:
            ahead = to if to.t < level.t else None
            frame = Frame(
                x=x,
                now=level,
                to=ahead,
                native=native,
                low_resolution=low_resolution,
                seeds=tuple(seeds),
                memory=memory,
            )
            estimate = yield from evaluate(expression, frame, learned=solver.reads_variance)
            estimates.append(estimate)
            return estimate

        start = x
        x = yield from solver.step(StepState(x, now, to, denoise, draw, history))
        x0 = estimates[0].x0
        seen = Step(index=index, total=down, t=now.t, x=start, x0=x0)
        if on_step is not None and on_step(seen):
            x = x0
            break
        index += 1
    return x if constraint is None else constraint.finish(x)


def evaluate(
    expression: Expression, frame: Frame, *, learned: bool = True
) -> Generator[list[Query], Answers, Estimate]:
    """The expression's estimate at a frame: each different query is yielded once.

    learned: whether a learned variance is wanted. Where it is not, no view need carry it.
    """
    queries = {query.key: query for query in expression.queries(frame)}
    answers = (yield list(queries.values())) if queries else {}
    if not learned:
        answers = {key: replace(estimate, variance=None) for key, estimate in answers.items()}
    return expression.combine(frame, answers)

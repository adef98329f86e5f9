"""How an evaluation samples a model."""

from collections.abc import Callable, Mapping
from typing import TypedDict

from sfumato.core.sampler import Step

OnProgress = Callable[[float, int], None]  # hears (pictures done, pictures in all)


class SamplingSettings(TypedDict, total=False):
    """Settings of `sample`; what is left out or None is the model's default."""

    steps: int | None
    solver: str | None
    options: Mapping[str, float | str] | None
    spacing: str | None
    guidance: float | None


def step_hook(report: OnProgress | None, done: int, count: int, total: int) -> Callable[[Step], None] | None:
    """The hook of a sampling that draws `count` pictures after `done` others of `total`."""
    if report is None:
        return None
    return lambda step: report(done + count * (step.index + 1) / step.total, total)

"""How an evaluation reports its progress."""

from collections.abc import Callable

from sfumato.core.sampler import Step

OnProgress = Callable[[float, int], None]  # hears (pictures done, pictures in all)


def step_hook(report: OnProgress | None, done: int, count: int, total: int) -> Callable[[Step], None] | None:
    """The hook of a sampling that draws `count` pictures after `done` others of `total`."""
    if report is None:
        return None
    return lambda step: report(done + count * (step.index + 1) / step.total, total)

"""A progress bar over the steps of a run, with the time left, on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from sfumato.core.sampler import OnStep, Step


@contextmanager
def step_bar() -> Iterator[OnStep]:
    """An `on_step` that moves a bar while the block runs; the bar leaves nothing behind."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sampling", total=None)

        def see(step: Step) -> None:
            progress.update(task, completed=step.index + 1, total=step.total)

        yield see

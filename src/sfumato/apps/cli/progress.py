"""Progress on stderr, on a terminal only: a bar with the time left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """A bar that shows how much of how much is done."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def show(self, done: float, total: float, note: str = "") -> None:
        """Move the bar; `note` stands at its end."""
        self._progress.start()  # does nothing while the bar is there
        self._progress.update(self._task, completed=done, total=total, note=note)

    def hide(self) -> None:
        """Hide the bar until it moves again, so that something else can be printed."""
        self._progress.stop()


@contextmanager
def progress_bar(what: str) -> Iterator[Bar]:
    """A bar while the block runs; one at a time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not on_terminal(),
    ) as progress:
        yield Bar(progress, progress.add_task(what, total=None, note=""))


def on_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr.isatty()


def note(text: str) -> None:
    """Print one line on stderr; stdout holds the names of the files that were written."""
    typer.echo(text, err=True)

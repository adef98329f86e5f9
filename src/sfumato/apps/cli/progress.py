"""What stderr says on the way: notes, and on a terminal a bar with the time left; nothing under --quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_quiet = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Whether notes and bars are left out while the block runs."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


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
    """Whether stderr is a terminal, and is to show progress."""
    return sys.stderr.isatty() and not _quiet.get()


def note(text: str) -> None:
    """Print one line on stderr; stdout holds the names of the files that were written."""
    if not _quiet.get():
        typer.echo(text, err=True)

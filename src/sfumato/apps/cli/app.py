"""The command line: its commands and exit codes.

Exit codes: 0 done; 1 failed; 2 wrong usage, nothing was begun; 3 a model is missing; 130 Ctrl-C; 143 SIGTERM.
A failure is one line on stderr, `error: …`; --debug shows where it happened.
"""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer import Option
from typer.exceptions import TyperException

from sfumato.apps.cli import (
    demo,
    denoise,
    edit,
    encode,
    evaluate,
    export,
    fuse,
    models,
    replay,
    report,
    serve,
    train,
)
from sfumato.apps.cli.expand import Command, with_options
from sfumato.errors import SfumatoError
from sfumato.version import __version__

COMMANDS: dict[str, tuple[Command, ...]] = {
    "Draw": (fuse.generate, fuse.anagram, fuse.hybrid, fuse.compose, fuse.panorama),
    "Change a picture": (edit.translate, edit.inpaint, edit.upscale, denoise.denoise),
    "Make again": (replay.replay, replay.run),
    "Models": (
        *(models.models, encode.encode, export.export, train.train, evaluate.evaluate),
        *(demo.demo, report.report),
    ),
    "Serve": (serve.studio, serve.serve),
}

app = typer.Typer(
    name="sfumato",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Example: sfumato demo --out demo",
)
for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        _example = sys.modules[_command.__module__].EXAMPLES[_command.__name__]
        app.command(rich_help_panel=_panel, epilog=f"Example: {_example}")(with_options(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sfumato {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, Option("--debug", help="Show where an error happened; also after the command.")
    ] = False,
) -> None:
    """Make pictures out of noise, several meanings at a time."""


class Stopped(BaseException):
    """A signal that ends the program, as an exception, so that the program cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    # Read when torch is loaded. Threads that wait by spinning cost nothing on an idle machine; on a
    # busy one they made the demo ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if args is None else args)
    words = given[: given.index("--")] if "--" in given else given
    debug = "--debug" in words
    given = [word for word in words if word != "--debug"] + given[len(words) :]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console may lack letters of a name: it shows ? instead
            stream.reconfigure(errors="replace")
    try:
        with _signals(), _warnings_as_notes():
            return _run(given, debug)
    except Stopped as stop:
        _say(f"stopped by {signal.Signals(stop.number).name}")
        return 128 + stop.number


def _run(args: list[str], debug: bool) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=args, prog_name="sfumato", standalone_mode=False)
    except SystemExit as end:  # shell completion
        return end.code if isinstance(end.code, int) else 1
    except TyperException as error:  # wrong usage
        message = getattr(error, "format_message", error.__str__)()
        return _failed(error, message, 2, debug) if message else 2  # without one, help was shown
    except SfumatoError as error:
        return _failed(error, str(error), error.exit_code, debug)
    except Exception as error:
        return _failed(error, _unforeseen(error), 1, debug)
    return code if isinstance(code, int) else 0


def _failed(error: Exception, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    _say(f"error: {message}")
    return code


def _unforeseen(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "allocate memory" in str(error):
        return "out of memory: use a smaller --max-rows or --count"
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return f"{kind}: {error} (this should not happen: --debug shows where)"


def _say(text: str) -> None:
    """Print one line on stderr."""
    typer.echo(" ".join(text.split()), err=True)


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """What sfumato warns of is one line, without the place in its source."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        _say(f"{'note' if issubclass(category, UserWarning) else category.__name__}: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped while this lasts; in another thread they stay as they are."""
    before: dict[int, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Stopped(number)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        try:
            before[number] = signal.signal(number, stop)
        except ValueError:  # not the main thread
            break
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

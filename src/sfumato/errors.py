"""The errors that sfumato raises, and the exit code that each one means on the command line."""

from collections.abc import Iterable
from difflib import get_close_matches


class SfumatoError(Exception):
    """Something failed; the message says in one line what was wrong and what to do."""

    exit_code = 1


class UsageError(SfumatoError, ValueError):
    """A value that the caller gave is wrong: nothing was begun, nothing was written."""

    exit_code = 2


class ModelUnavailableError(SfumatoError):
    """A model that is missing or gated."""

    exit_code = 3


def first_line(error: BaseException) -> str:
    """What an error says in its first line; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: what was likely meant, or nothing."""
    near = get_close_matches(given.lower(), list(known), n=2)
    return f". Did you mean {' or '.join(near)}?" if near else ""

"""Programs that make the weights and tables of the package; they are not part of it.

Each runs from the root of the repository: `python -m tools.convert_text --help`.
"""

import sys
from collections.abc import Callable

import typer

from sfumato.errors import SfumatoError


def run(main: Callable[..., None]) -> None:
    """Calls a program's `main` with the arguments of the command line; an error is printed as one line."""
    try:
        typer.run(main)
    except SfumatoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

"""JSON objects and hashes of files, for folders of our own and of others."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfumato.errors import ModelUnavailableError, SfumatoError, first_line
from sfumato.parsing import parse_json, read_regular, text_of

MAX_JSON = 4_000_000  # bytes of a description or a configuration; a tokenizer.json is not read so


def read_json(path: Path, *, missing: str) -> dict[str, Any]:
    """The JSON object of a file; `missing` is the message where there is none.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is not readable, larger than MAX_JSON, or no JSON object.
    """
    try:
        found = parse_json(text_of(read_regular(path, MAX_JSON)))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelUnavailableError(missing) from error
    except OSError as error:
        raise SfumatoError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise SfumatoError(f"{path} is not JSON that is read: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise SfumatoError(f"{path} is not a JSON object")
    return found


def joint_sha256(hashes: Sequence[str]) -> str:
    """The sha256 of weights that lie in several files: of the files' own, in order; of one file its own."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

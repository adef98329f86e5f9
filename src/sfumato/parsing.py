"""Text, JSON and YAML from outside, within bounds: what a file says decides neither memory nor time.

Every function raises OSError where a file cannot be read, and ValueError, in one line, for what is in it.
"""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MAX_DEPTH = 100  #  of objects and lists in one another
MAX_BITS = 128  #   of a whole number: seeds have 64, and transformers writes 10^30 for "without a limit"

MAX_YAML = 100_000  # characters, of which Python reads some 100,000 a second


class _Loader(yaml.SafeLoader):
    """Builds no node for an alias. It reads as it builds, so that what is nested too deep ends it at once."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has aliases (*name): write out what they stand for")
        return super().compose_node(parent, index)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes: no device and no pipe, which may have no end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes, and at most {most:,} are read")
    with path.open("rb") as file:
        return file.read(most)


def inside(path: Path, folder: Path) -> bool:
    """Whether a file, its links followed, lies in a folder; the hub's cache keeps files beside it."""
    root = Path(os.path.realpath(folder))
    roots = [root]
    if "snapshots" in root.parts:
        place = len(root.parts) - 1 - root.parts[::-1].index("snapshots")
        roots.append(Path(*root.parts[:place], "blobs"))
    return any(Path(os.path.realpath(path)).is_relative_to(root) for root in roots)


def text_of(data: bytes) -> str:
    """UTF-8, with or without the mark that Windows puts at its beginning."""
    return data.decode("utf-8-sig")


def parse_json(text: str) -> Any:
    """The value of a JSON text, held to the bounds above."""
    try:
        return _bounded(json.loads(text))
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from error


def parse_yaml(text: str) -> Any:
    """The value of a YAML text as JSON could hold it; aliases, which multiply, are refused."""
    if len(text) > MAX_YAML:
        raise ValueError(f"it has over {MAX_YAML:,} characters: give a longer one as JSON")
    try:
        return _bounded(yaml.load(text, Loader=_Loader))
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _bounded(value: Any) -> Any:
    """The value, if it holds what JSON has, within the bounds."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return value
        level = [below for item in level for below in _below(item)]
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _below(item: Any) -> Iterator[Any]:
    if isinstance(item, dict):
        if not all(isinstance(key, str) for key in item):
            raise ValueError("a name in it is no text")
        yield from item.values()
    elif isinstance(item, list):
        yield from item
    elif isinstance(item, int) and item.bit_length() > MAX_BITS:
        raise ValueError(
            f"it holds a whole number of {item.bit_length()} bits, and at most {MAX_BITS} are read"
        )
    elif not isinstance(item, str | int | float | None):
        raise ValueError(f"it holds a {type(item).__name__}, which JSON has not")

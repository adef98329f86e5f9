"""Values that know the Python text that makes them, so that the page shows the very calls that were made.

    both = say(sf.anagram, "a rocket", "a skull", view="flip")
    both.value        the expression
    both.text         sf.anagram("a rocket", "a skull", view="flip")

Text and value come from one call; neither is written by hand beside the other.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sfumato as sf

WIDTH = 84  # a longer call is broken, an argument to a line


@dataclass(frozen=True)
class Said:
    """A value and its text; `before` are lines that must stand above, `imports` what must be imported."""

    value: Any
    text: str
    before: tuple[str, ...] = ()
    imports: frozenset[str] = frozenset()

    def then(self, method: str, *args: Any, **kwargs: Any) -> Said:
        """The result of a method of this value."""
        return _said(getattr(self.value, method), f"{self.text}.{method}", (self,), args, kwargs)

    def named(self, name: str) -> Said:
        """The same value, held in a variable."""
        return Said(self.value, name, (*self.before, f"{name} = {self.text}"), self.imports)


def say(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Said:
    """Call a function and say so: sfumato's public names by `sf.`, others by an import."""
    name = function.__name__
    if name in sf.__all__ and getattr(sf, name) is function:
        return _said(function, f"sf.{name}", (), args, kwargs)
    source = Said(None, name, imports=frozenset({f"from {function.__module__} import {name}"}))
    return _said(function, name, (source,), args, kwargs)


def as_said(value: Any) -> Said:
    """A plain value with its literal; lists and tuples may hold said ones."""
    if isinstance(value, Said):
        return value
    if isinstance(value, list | tuple):
        parts = [as_said(item) for item in value]
        left, right = "[]" if isinstance(value, list) else "()"
        inside = ", ".join(part.text for part in parts) + ("," if left == "(" and len(parts) == 1 else "")
        kind = type(value)
        return Said(kind(part.value for part in parts), f"{left}{inside}{right}", *_needs(parts))
    return Said(value, json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value))


def script(imports: frozenset[str], lines: list[str]) -> str:
    """A whole program: imports first, then the lines, each once."""
    head = ["import sfumato as sf", *sorted(imports, key=lambda line: (line.startswith("from"), line))]
    return "\n".join([*head, "", *dict.fromkeys(lines)]) + "\n"


def _said(function: Callable[..., Any], text: str, holders: tuple[Said, ...], args: Any, kwargs: Any) -> Said:
    given = [as_said(arg) for arg in args]
    named = {key: as_said(value) for key, value in kwargs.items()}
    value = function(*(g.value for g in given), **{key: n.value for key, n in named.items()})
    words = [g.text for g in given] + [f"{key}={n.text}" for key, n in named.items()]
    return Said(value, _call(text, words), *_needs([*holders, *given, *named.values()]))


def _call(text: str, words: list[str]) -> str:
    flat = f"{text}({', '.join(words)})"
    if len(flat) <= WIDTH and "\n" not in flat:
        return flat
    lines = "".join(f"{word},\n" for word in words)
    return f"{text}(\n{textwrap.indent(lines, '    ')})"


def _needs(parts: list[Said]) -> tuple[tuple[str, ...], frozenset[str]]:
    before = tuple(dict.fromkeys(line for part in parts for line in part.before))
    return before, frozenset().union(*(part.imports for part in parts))

"""Snippets: values together with the Python text that makes them, so that the page shows the calls that ran.

    both = call(sf.anagram, "a rocket", "a skull", view="flip")
    both.value        the expression
    both.text         sf.anagram("a rocket", "a skull", view="flip")

One call gives both the text and the value. Nobody writes the text by hand.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sfumato as sf

WIDTH = 84  # a longer call is broken, one argument a line


@dataclass(frozen=True)
class Snippet:
    """A value and its text; `before` are lines that must stand above, `imports` what must be imported."""

    value: Any
    text: str
    before: tuple[str, ...] = ()
    imports: frozenset[str] = frozenset()

    def named(self, name: str) -> Snippet:
        """The same value, held in a variable."""
        return Snippet(self.value, name, (*self.before, f"{name} = {self.text}"), self.imports)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Snippet:
    """Call a function. The text writes sfumato's public names as `sf.NAME` and imports others."""
    given = [literal(arg) for arg in args]
    named = {key: literal(value) for key, value in kwargs.items()}
    value = function(*(g.value for g in given), **{key: n.value for key, n in named.items()})
    words = [g.text for g in given] + [f"{key}={n.text}" for key, n in named.items()]
    before, imports = _needs([*given, *named.values()])
    name = function.__name__
    if name in sf.__all__ and getattr(sf, name) is function:
        name = f"sf.{name}"
    else:
        imports |= {_import(function)}
    return Snippet(value, broken(name, words), before, imports)


def literal(value: Any) -> Snippet:
    """A plain value with its literal; lists and tuples may hold snippets."""
    if isinstance(value, Snippet):
        return value
    if isinstance(value, list | tuple):
        parts = [literal(item) for item in value]
        left, right = "[]" if isinstance(value, list) else "()"
        inside = ", ".join(part.text for part in parts) + ("," if left == "(" and len(parts) == 1 else "")
        kind = type(value)
        return Snippet(kind(part.value for part in parts), f"{left}{inside}{right}", *_needs(parts))
    return Snippet(value, json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value))


def broken(name: str, words: Sequence[str], after: str = "") -> str:
    """A call on one line, or one argument a line where it would be long."""
    flat = f"{name}({', '.join(words)}){after}"
    if len(flat) <= WIDTH and "\n" not in flat:
        return flat
    lines = "".join(f"{word},\n" for word in words)
    return f"{name}(\n{textwrap.indent(lines, '    ')}){after}"


def statement(
    lines: str | Sequence[str], *needs: Snippet, uses: Sequence[Callable[..., Any]] = ()
) -> Snippet:
    """Lines to run as they are. needs: snippets whose variables they read. uses: functions to import."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    before, imports = _needs(needs)
    return Snippet(None, text, before, imports | {_import(function) for function in uses})


def program(statements: Sequence[Snippet]) -> str:
    """A whole program: imports first, then what the statements need and the statements, each once."""
    lines, imports = _needs([Snippet(None, "", (*s.before, s.text), s.imports) for s in statements])
    head = ["import sfumato as sf", *sorted(imports, key=lambda line: (line.startswith("from"), line))]
    return "\n".join([*head, "", *lines]) + "\n"


def _import(function: Callable[..., Any]) -> str:
    """The line that imports a function, from its package where the package offers it."""
    name, module = function.__name__, function.__module__
    package = module.rpartition(".")[0]
    offered = getattr(sys.modules[package], name, None) is function
    return f"from {package if offered else module} import {name}"


def _needs(parts: Sequence[Snippet]) -> tuple[tuple[str, ...], frozenset[str]]:
    before = tuple(dict.fromkeys(line for part in parts for line in part.before))
    return before, frozenset().union(*(part.imports for part in parts))

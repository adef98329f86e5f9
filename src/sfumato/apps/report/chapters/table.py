"""The sections of the report and of the demo, as report.yaml and demo.yaml have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sfumato.apps.report.page import Block

if TYPE_CHECKING:
    from sfumato.apps.report.workspace import Workspace

Make = Callable[["Workspace"], Iterator[Block]]


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A section of a page.

    id: names its address and its files. label: letter of its part and number. see: what to see in it.
    formula: a macro of templates/formulas.html. subject: by its name the model and tour that are shown; None
    where a section takes its models from the trainings.
    """

    id: str
    label: str
    title: str
    see: str
    make: Make
    formula: str
    subject: str | None = "model"

    @property
    def part(self) -> str:
        """The letter of its part."""
        return self.label[0]

    @property
    def number(self) -> str:
        """Its number in the part."""
        return self.label[1:]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a page consists of. parts: title and text by letter."""

    parts: Mapping[str, Mapping[str, str]]
    chapters: tuple[Chapter, ...]


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return read


def _contents(written: dict[str, Any], base: dict[str, Any]) -> Contents:
    """The contents that a file writes; `like` takes what a section leaves out from a section of `base`."""
    chapters = []
    for name, own in written["chapters"].items():
        like = own.pop("like", name)
        whole = {**base["chapters"].get(like, {}), **own}
        module, function = whole.pop("make").split(".")
        make = getattr(import_module(f"sfumato.apps.report.chapters.{module}"), function)
        chapters.append(Chapter(id=name, formula=like, make=make, **whole))
    return Contents(parts=written["parts"], chapters=tuple(chapters))


_report = _read("report.yaml")
REPORT = _contents(_report, _report)
DEMO = _contents(_read("demo.yaml"), _report)

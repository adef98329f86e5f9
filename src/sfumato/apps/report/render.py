"""The page: sections as data become one HTML file, its style and script inside, its pictures beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sfumato.apps.report.page import Section, Turns

if TYPE_CHECKING:
    from sfumato.apps.report.chapters import Contents

ABOUT = 128  # pixels of the screen that a picture is about as wide as, in whole pixels of its own


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says of itself."""

    model: str
    weights: str
    quick: bool
    command: str
    version: str
    device: str


def render(contents: Contents, sections: Mapping[str, Section], about: About) -> str:
    """The page with the sections that are made; it names those that are not."""
    chapters = contents.chapters
    states = [sections[c.id].status if c.id in sections else "waiting" for c in chapters]
    blocks = (block for c in chapters if c.id in sections for block in sections[c.id].blocks)
    return (
        _environment()
        .get_template("page.html")
        .render(
            parts=[
                (letter, part["title"], part["text"], [c for c in chapters if c.part == letter])
                for letter, part in contents.parts.items()
            ],
            chapters=chapters,
            sections=sections,
            about=about,
            hero=next((block.turns[0] for block in blocks if isinstance(block, Turns)), None),
            seconds=sum(section.seconds for section in sections.values()),
            date=time.strftime("%Y-%m-%d"),
            counts={state: states.count(state) for state in ("done", "incomplete", "failed", "waiting")},
        )
    )


def scale(width: int, about: int = ABOUT) -> int:
    """How many pixels of the screen a pixel of a picture gets."""
    return max(1, round(about / width))


def code_words(text: str) -> Markup:
    """Plain text; what stands between backticks is set as code."""
    pieces = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else escape(piece) for i, piece in enumerate(pieces)
    )


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<string>f?"(?:[^"\\\n]|\\.)*"|'[^'\n]*')|(?P<word>\b(?:import|from|for|in|if|print)\b)"""
)


def highlighted(text: str) -> Markup:
    """Python or a command with comments and strings marked: enough to read it by."""
    marked, at = Markup(""), 0
    for match in _TOKEN.finditer(text):
        marked += escape(text[at : match.start()])
        marked += Markup('<span class="{}">{}</span>').format(match.lastgroup, match.group())
        at = match.end()
    return marked + escape(text[at:])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sfumato.apps.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "code": code_words,
        "duration": duration,
        "lit": highlighted,
        "safe_svg": Markup,  # of ours, see diagram.py and training/loss_curve.py
    }
    environment.globals |= {"scale": scale}
    return environment

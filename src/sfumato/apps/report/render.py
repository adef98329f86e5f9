"""The page: sections as data become one HTML file, its style and script inside, its pictures beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sfumato.apps.report.page import Section, Turn, Turns

if TYPE_CHECKING:
    from sfumato.apps.report.chapters import Chapter

PARTS = {
    "A": (
        "The tour",
        "What one text-to-image model can be asked, from a single word to several meanings at once.",
    ),
    "B": ("From scratch", "How such a model comes to be: small networks trained on handwritten digits."),
}
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


def render(chapters: Sequence[Chapter], sections: Mapping[str, Section], about: About) -> str:
    """The page with what there is; what is not there yet is named."""
    template = _environment().get_template("page.html")
    return template.render(
        parts=[
            (letter, *words, [c for c in chapters if c.part == letter]) for letter, words in PARTS.items()
        ],
        chapters=chapters,
        sections=sections,
        about=about,
        hero=_hero(sections),
        seconds=sum(section.seconds for section in sections.values()),
        date=time.strftime("%Y-%m-%d"),
        counts=_counts(chapters, sections),
    )


def _counts(chapters: Sequence[Chapter], sections: Mapping[str, Section]) -> dict[str, int]:
    """How many sections are in each state."""
    states = [sections[c.id].status if c.id in sections else "waiting" for c in chapters]
    return {state: states.count(state) for state in ("done", "incomplete", "failed", "waiting")}


def _hero(sections: Mapping[str, Section]) -> Turn | None:
    """The first anagram, to stand at the top."""
    blocks = sections["8"].blocks if "8" in sections else ()
    return next((block.turns[0] for block in blocks if isinstance(block, Turns)), None)


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
    """In words that one reads at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def highlighted(text: str) -> Markup:
    """Python or a command with comments and strings marked: enough to read it by."""
    return Markup("").join(_tokens(text))


_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<string>f?"(?:[^"\\\n]|\\.)*"|'[^'\n]*')|(?P<word>\b(?:import|from|for|in|if|print)\b)"""
)


def _tokens(text: str) -> Iterator[Markup]:
    at = 0
    for match in _TOKEN.finditer(text):
        yield escape(text[at : match.start()])
        yield Markup('<span class="{}">{}</span>').format(match.lastgroup, match.group())
        at = match.end()
    yield escape(text[at:])


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

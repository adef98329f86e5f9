"""Emoji by name: the package knows the name of each that it was trained on.

A text may hold them in any tone of skin and either gender; they are read as the concept.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sfumato.errors import SfumatoError
from sfumato.models.files.reading import read_json

FILE = Path(__file__).parents[2] / "weights" / "emoji-classifier" / "model.json"
_TONES = "\U0001f3fb-\U0001f3ff"
_JOINER, _SHOWN_AS_EMOJI = "\u200d", "\ufe0f"


class Naming(NamedTuple):
    """A text with names for its emoji, those names by emoji, and the picture signs without a name."""

    text: str
    names: dict[str, str]
    unnamed: list[str]


def name_emoji(text: str) -> Naming:
    """Each emoji of a text by its name: "🍎 on a table" -> "red apple on a table"."""
    if text.isascii():
        return Naming(text, {}, [])
    known, pattern = _known()
    plain, names = _plain(text), dict[str, str]()

    def name(found: re.Match[str]) -> str:
        names[found[0]] = known[found[0]]
        return f" {known[found[0]]} "

    named = pattern.sub(name, plain)
    unnamed = [c for c in dict.fromkeys(named) if unicodedata.category(c) == "So"]
    return Naming(" ".join(named.split()) if names else text, names, unnamed)


@lru_cache(maxsize=1)
def _known() -> tuple[dict[str, str], re.Pattern[str]]:
    """The name of each emoji, and a pattern that finds them, the longest first."""
    known = {
        _plain("".join(chr(int(code, 16)) for code in hexcode.split("-"))): label
        for label, hexcode in _concepts()
    }
    longest = sorted(filter(None, known), key=len, reverse=True)
    return known, re.compile("|".join(map(re.escape, longest)) or "(?!)")


@lru_cache(maxsize=1)
def _concepts() -> list[tuple[str, str]]:
    try:
        found = read_json(FILE, missing=f"no {FILE}")["concepts"]
        return [(str(concept["label"]), str(concept["hexcode"])) for concept in found]
    except (SfumatoError, KeyError, TypeError):
        return []


def _plain(text: str) -> str:
    """A text whose emoji have no tone of skin, no gender and no sign of how they are to be shown."""
    text = re.sub(f"[{_TONES}{_SHOWN_AS_EMOJI}]", "", text)
    text = re.sub(f"{_JOINER}[\u2640\u2642]", "", text)
    return re.sub(f"[\U0001f468\U0001f469](?={_JOINER})", "\U0001f9d1", text)

"""The names of files that were given none: words of the prompts and the seed, and no file is replaced."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

LONGEST = 40  # characters of the words in a name
_ARTICLE = re.compile(r"\b(?:an?|the)\b")


def words_of(prompts: Sequence[str]) -> str:
    """The words of some prompts as a part of a file name: "a red apple" -> "red-apple"; "picture" for none.

    Letters of all scripts stay; accents, articles and signs go, and emoji are called by their names.
    """
    text = " ".join(prompts)
    if not text.isascii():
        from sfumato.models.text.emoji import name_emoji

        text = name_emoji(text).text
    text = unicodedata.normalize("NFKD", text.lower())
    text = "".join(c for c in text if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", _ARTICLE.sub(" ", text)) or re.findall(r"[^\W_]+", text)
    return _joined(words) or "picture"


def _joined(words: Sequence[str]) -> str:
    """As many words as fit into LONGEST characters, of the first one so many characters."""
    name = words[0][:LONGEST] if words else ""
    for word in words[1:]:
        if len(name) + 1 + len(word) > LONGEST:
            break
        name += f"-{word}"
    return name


def free_names(stem: str, extension: str) -> Iterator[Path]:
    """Names in the working folder: the plain one, then those with a number; whoever writes tries them."""
    yield Path(f"{stem}{extension}")
    yield from (Path(f"{stem}-{number}{extension}") for number in count(2))


def free_name(stem: str, extension: str) -> Path:
    """The first of the names that no file has."""
    return next(path for path in free_names(stem, extension) if not path.exists())

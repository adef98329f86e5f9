"""Wordings kept out of the training: other words for a concept, to ask for it by.

wordings.txt has one for each of some 300 concepts, chosen by hand among its keywords: a synonym, a kind of
the thing or its use, by which a reader would know the picture. A line is "label = wording"; " *" marks those
that share a synset of WordNet 3.1 with the label or with a keyword that captions contain;
`bench/synonyms.py` finds them.

A keyword is kin to a wording when it has a word of the same stem ("puppies", "puppy"). No caption of any
concept contains a wording or its kin.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sfumato.errors import SfumatoError
from sfumato.training.emoji.concepts import Concept


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Words for a concept that no training caption contains, and every concept (rows) they are right for.

    synonym: a thesaurus lists them with the label or with a keyword that captions contain.
    """

    text: str
    concept: int
    accepted: frozenset[int]
    synonym: bool


@cache
def wording_table() -> Mapping[str, tuple[str, bool]]:
    """The wording of each label, and whether it is a synonym."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    found = re.findall(r"^(.+) = (.+?)( \*)?$", text, re.MULTILINE)
    if len({label for label, *_ in found}) != len(text.splitlines()):
        raise SfumatoError("wordings.txt is damaged: install sfumato again")
    return {label: (wording, bool(mark)) for label, wording, mark in found}


def held_out_wordings(concepts: Sequence[Concept]) -> tuple[Wording, ...]:
    """The wordings of a table of concepts, in its order.

    A wording stays in the training when a label has a word of its stem, or when its concept would have no
    other keyword left. Accepted is every concept that has the wording or its kin among its keywords.
    """
    return tuple(_held_out(concepts))


def _held_out(concepts: Sequence[Concept]) -> Iterator[Wording]:
    table = wording_table()
    in_labels = frozenset[str]().union(*(stems(concept.label) for concept in concepts))
    in_keywords = [tuple(stems(keyword) for keyword in usable(concept)) for concept in concepts]
    for row, concept in enumerate(concepts):
        text, synonym = table.get(concept.label, ("", False))
        if text not in concept.keywords:
            continue
        own = stems(text)
        if own & in_labels or all(own & other for other in in_keywords[row]):
            continue
        accepted = frozenset(i for i, keywords in enumerate(in_keywords) if any(own & k for k in keywords))
        yield Wording(text=text, concept=row, accepted=accepted, synonym=synonym)


def usable(concept: Concept) -> tuple[str, ...]:
    """The keywords that are words: no numbers, no signs of the chat."""
    return tuple(word for word in concept.keywords if re.fullmatch(r"[A-Za-z][A-Za-z' -]{2,}", word))


@cache
def stems(text: str) -> frozenset[str]:
    """The stems of the words of a text: lower case, without the endings of plurals and of verbs."""
    return frozenset(_stem(word) for word in re.findall(r"[a-z0-9']+", text.lower()))


def _stem(word: str) -> str:
    word = re.sub("(ies|ied|y)$", "i", word)
    return re.sub("(?<=...)(ing|ed|es|s|e)$", "", word)

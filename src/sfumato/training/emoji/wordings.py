"""Wordings kept out of the training: other words for a concept, to ask for it by; wordings.yaml holds them.

A keyword is kin to a wording when it has a word of the same stem ("puppies", "puppy"). No caption of any
concept contains a wording or its kin.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel

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


class WordingTable(BaseModel, extra="forbid"):
    """The wording of each label, by whether it is a synonym."""

    synonyms: dict[str, str]
    others: dict[str, str]


@cache
def wording_table() -> WordingTable:
    """The table that ships with the package."""
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    return WordingTable.model_validate(yaml.safe_load(text))


def held_out_wordings(concepts: Sequence[Concept]) -> tuple[Wording, ...]:
    """The wordings of a table of concepts, in its order.

    A wording stays in the training when a label has a word of its stem, or when its concept would have no
    other keyword left. Accepted is every concept that has the wording or its kin among its keywords.
    """
    return tuple(_held_out(concepts))


def _held_out(concepts: Sequence[Concept]) -> Iterator[Wording]:
    table = wording_table()
    wordings = table.synonyms | table.others
    in_labels = frozenset[str]().union(*(stems(concept.label) for concept in concepts))
    in_keywords = [tuple(stems(keyword) for keyword in usable(concept)) for concept in concepts]
    for row, concept in enumerate(concepts):
        text = wordings.get(concept.label)
        if text is None or text not in concept.keywords:
            continue
        own = stems(text)
        if own & in_labels or all(own & other for other in in_keywords[row]):
            continue
        accepted = frozenset(i for i, keywords in enumerate(in_keywords) if any(own & k for k in keywords))
        yield Wording(text=text, concept=row, accepted=accepted, synonym=concept.label in table.synonyms)


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

"""Wordings kept out of the training: other words for a concept, to ask for it by.

One for each of some 300 concepts (wordings.txt), chosen by hand among its keywords: a synonym, a kind of the
thing or what it is for, by which a reader would know the picture. A keyword is kin to a wording when it has a
word of the same stem ("puppies", "puppy"); neither the wording nor its kin stands in any caption of any
concept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sfumato.training.emoji.concepts import Concept

_STEM = 4  # letters, at least, that words of one stem begin with


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Words for a concept that no training caption contains, and every concept (rows) they are right for.

    synonym: a thesaurus has them for the label or for a keyword that captions contain.
    """

    text: str
    concept: int
    accepted: frozenset[int]
    synonym: bool


def held_out_wordings(concepts: Sequence[Concept]) -> tuple[Wording, ...]:
    """The wordings of a table of concepts, in its order.

    One is left in the training when a label has a word of its stem, or when its concept would have no other
    keyword left. Accepted is every concept that has the wording or kin of it among its keywords.
    """
    return tuple(_found(concepts))


def _found(concepts: Sequence[Concept]) -> Iterator[Wording]:
    in_labels = frozenset[str]().union(*(stems(concept.label) for concept in concepts))
    in_keywords = [tuple(stems(keyword) for keyword in usable(concept)) for concept in concepts]
    for row, concept in enumerate(concepts):
        text = HELD_OUT.get(concept.label)
        if text is None or text not in concept.keywords:
            continue
        own = stems(text)
        if own & in_labels or all(own & other for other in in_keywords[row]):
            continue
        accepted = frozenset(i for i, keywords in enumerate(in_keywords) if any(own & k for k in keywords))
        yield Wording(text=text, concept=row, accepted=accepted, synonym=text in SYNONYMS)


def usable(concept: Concept) -> tuple[str, ...]:
    """The keywords that are words: no numbers, no signs of the chat."""
    return tuple(word for word in concept.keywords if re.fullmatch(r"[A-Za-z][A-Za-z' -]{2,}", word))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a label, keyword or caption, in lower case."""
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


@cache
def stems(text: str) -> frozenset[str]:
    """The stems of the words of a text: without the endings of plurals and of verbs."""
    return frozenset(_stem(word) for word in words_of(text))


def _stem(word: str) -> str:
    word = re.sub("(ies|ied|y)$", "i", word)
    return re.sub("(?<=...)(ing|ed|es|s|e)$", "", word)


def _table() -> Mapping[str, str]:
    """Lines of "label = wording", where " *" behind it marks a synonym."""
    lines = (Path(__file__).parent / "wordings.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" = ") for line in lines)


_TABLE = _table()
HELD_OUT = {label: wording.removesuffix(" *") for label, wording in _TABLE.items()}

# Those that share a synset of WordNet 3.1 with their concept's label or with a keyword that its captions
# contain; `bench/synonyms.py` finds them.
SYNONYMS = frozenset(wording.removesuffix(" *") for wording in _TABLE.values() if wording.endswith(" *"))

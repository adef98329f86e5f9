"""The words that ask for an emoji: captions for training, and wordings kept out of it.

A caption is a function of a concept and uniform random numbers. It is one of: the label; a keyword that few
concepts share; the label with keywords; any of them in a frame ("an oil painting of a red apple on a white
background"). The frame says nothing of the picture: users write so, and a model must not mind. No caption
names a style, which is a condition of its own.

The held-out wordings (`wordings.py`) and their kin stand in no caption: asking for a concept by one tells
whether a model understands words or only recalls them.
"""

from collections import Counter
from collections.abc import Sequence

from sfumato.models.text.phrasing import ENDINGS, FRAMES, ended
from sfumato.training.emoji.concepts import Concept
from sfumato.training.emoji.wordings import held_out_wordings, stems, usable

DRAWS = 8  # uniform numbers that one caption takes

_FEW = 5  # a keyword of more concepts than this says too little alone

# Shares of the captions: by the words that they take, and by what is put around them
_LABEL, _KEYWORD, _BOTH, _KEYWORDS = 0.40, 0.25, 0.20, 0.15
_FRAMED, _ENDED, _ARTICLED = 0.5, 0.15, 0.5


class Captions:
    """The captions of a table of concepts; a concept goes by its row.

    keywords: those of each concept that captions contain
    """

    def __init__(self, concepts: Sequence[Concept]) -> None:
        held_out = frozenset[str]().union(*(stems(w.text) for w in held_out_wordings(concepts)))
        uses = Counter(keyword for concept in concepts for keyword in usable(concept))
        kept_out = {keyword for keyword in uses if held_out & stems(keyword)}
        self._labels = tuple(concept.label for concept in concepts)
        self.keywords = tuple(
            tuple(keyword for keyword in usable(concept) if keyword not in kept_out) for concept in concepts
        )
        self._telling = tuple(
            tuple(keyword for keyword in keywords if uses[keyword] <= _FEW) for keywords in self.keywords
        )

    def of(self, concept: int, draws: Sequence[float]) -> str:
        """One caption from `DRAWS` uniform numbers in [0, 1)."""
        kind, one, two, framed, frame, closed, ending, articled = draws
        words = self._words(concept, kind, one, two)
        if articled < _ARTICLED:
            words = with_article(words)
        if framed < _FRAMED:
            words = _pick(FRAMES, frame).format(words)
        if closed < _ENDED:
            words = ended(words, _pick(ENDINGS, ending))
        return words

    def _words(self, concept: int, kind: float, one: float, two: float) -> str:
        label, keywords, telling = self._labels[concept], self.keywords[concept], self._telling[concept]
        if kind < _LABEL or not keywords:
            return label
        if kind < _LABEL + _KEYWORD:
            return _pick(telling, one) if telling else label
        first = _pick(keywords, one)
        if kind < _LABEL + _KEYWORD + _BOTH or not telling:
            return f"{label}, {first}" if two < 0.7 else f"{first}, {label}"
        second = _pick(telling, two)
        return f"{first}, {second}" if second != first else label


def with_article(words: str) -> str:
    """ "a dog", "an owl"; plurals and phrases that need none are left alone."""
    first = words.split(maxsplit=1)[0].lower()
    if "," in words or first in _BARE or (words.endswith("s") and not words.endswith(("ss", "us", "is"))):
        return words
    return f"{'an' if first[0] in 'aeiou' else 'a'} {words}"


_BARE = frozenset(
    {"a", "an", "the", "people", "men", "women", "hear-no-evil", "rolling", "fire", "no", "santa"}
)


def _pick(options: Sequence[str], draw: float) -> str:
    return options[min(int(draw * len(options)), len(options) - 1)]

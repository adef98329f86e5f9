"""The words that ask for an emoji: captions for training, and wordings kept out of it.

A caption is a function of a concept, a style and uniform random numbers, so that a training draws new ones at
every step and a resumed one draws the same again. It is one of: the label; a keyword that few concepts share;
the label with keywords; any of them in a frame ("an oil painting of a red apple on a white background"), with
the style named or not. The frame says nothing of the picture: users write so, and a model must not mind.

The held-out wordings (`wordings.py`) and their kin stand in no caption: asking for a concept by one tells
whether a model understands words or only recalls them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.training.emoji.concepts import Concept
from sfumato.training.emoji.wordings import held_out_wordings, stems, usable

DRAWS = 9  # uniform numbers that one caption takes

_FEW = 5  # a keyword of more concepts than this says too little alone

# Shares of the captions: by the words that they take, and by what is put around them
_LABEL, _KEYWORD, _BOTH, _KEYWORDS = 0.40, 0.25, 0.20, 0.15
_FRAMED, _ENDED, _STYLED, _ARTICLED = 0.5, 0.15, 0.25, 0.5

_FRAMES = (
    "a photo of {}",
    "a picture of {}",
    "a drawing of {}",
    "an oil painting of {}",
    "a painting of {}",
    "a watercolour of {}",
    "a watercolor painting of {}",
    "a pencil sketch of {}",
    "a cartoon of {}",
    "an illustration of {}",
    "a lithograph of {}",
    "an image of {}",
    "an icon of {}",
    "an emoji of {}",
    "{} emoji",
    "{} icon",
)
_ENDINGS = ("on a white background", "on white", "in colour", "clip art", "simple", "close up", "centred")
STYLES: Mapping[str, tuple[str, ...]] = {
    "noto": ("in the style of noto", "noto style", "noto emoji"),
    "twemoji": ("in the style of twemoji", "twemoji style", "twitter emoji"),
    "flat": ("in a flat style", "flat style", "flat design"),
    "3d": ("in a 3d style", "3d style", "3d render"),
}


# What may stand behind the thing that is asked for; of styles also the wordings that no caption has.
_ADDITIONS = (
    *_ENDINGS,
    *(words for style in STYLES.values() for words in style),
    *(
        f"{start}{name}{end}"
        for name in STYLES
        for start, end in (("in the style of ", ""), ("in a ", " style"))
    ),
    *(f"{name}{end}" for name in STYLES for end in (" style", " emoji")),
)


class Captions:
    """The captions of a table of concepts.

    Args:
        concepts: the table; a concept is asked for by its row.
        styles: names of the styles, from `STYLES`.

    Raises:
        UsageError: a style without words.
    """

    def __init__(self, concepts: Sequence[Concept], styles: Sequence[str]) -> None:
        unknown = [style for style in styles if style not in STYLES]
        if unknown:
            raise UsageError(f"no words for the style {unknown[0]!r}; there are {', '.join(STYLES)}")
        held_out = frozenset[str]().union(*(stems(w.text) for w in held_out_wordings(concepts)))
        uses = Counter(keyword for concept in concepts for keyword in usable(concept))
        kept_out = {keyword for keyword in uses if held_out & stems(keyword)}
        self._styles = tuple(STYLES[style] for style in styles)
        self._labels = tuple(concept.label for concept in concepts)
        self._keywords = tuple(
            tuple(keyword for keyword in usable(concept) if keyword not in kept_out) for concept in concepts
        )
        self._telling = tuple(
            tuple(keyword for keyword in keywords if uses[keyword] <= _FEW) for keywords in self._keywords
        )

    def of(self, concept: int, style: int | None, draws: Sequence[float]) -> str:
        """One caption from `DRAWS` uniform numbers in [0, 1); without a style it names none."""
        kind, one, two, framed, frame, ended, ending, styled, articled = draws
        words = self._words(concept, kind, one, two)
        if articled < _ARTICLED:
            words = with_article(words)
        if framed < _FRAMED:
            words = _pick(_FRAMES, frame).format(words)
        if ended < _ENDED:
            words = f"{words}{_joint(_pick(_ENDINGS, ending))}"
        if style is not None and styled < _STYLED:
            words = f"{words}{_joint(_pick(self._styles[style], styled / _STYLED))}"
        return words

    def draw(self, concept: Tensor, style: Tensor, generator: torch.Generator) -> list[str]:
        """Captions of rows: concept (N,) and style (N,) int64 on any device; N * DRAWS numbers are drawn."""
        draws = torch.rand(len(concept), DRAWS, generator=generator, dtype=torch.float64).tolist()
        return [self.of(c, s, u) for c, s, u in zip(concept.tolist(), style.tolist(), draws, strict=True)]

    def _words(self, concept: int, kind: float, one: float, two: float) -> str:
        label, keywords, telling = self._labels[concept], self._keywords[concept], self._telling[concept]
        if kind < _LABEL or not keywords:
            return label
        if kind < _LABEL + _KEYWORD:
            return _pick(telling, one) if telling else label
        first = _pick(keywords, one)
        if kind < _LABEL + _KEYWORD + _BOTH or not telling:
            return f"{label}, {first}" if two < 0.7 else f"{first}, {label}"
        second = _pick(telling, two)
        return f"{first}, {second}" if second != first else label


def without_frame(text: str) -> str:
    """What a prompt asks for, without frame, endings, style and article: "A rocket" -> "rocket"."""
    words, before = " ".join(text.lower().split()), ""
    while words != before:
        before = words
        for addition in _ADDITIONS:
            words = words.removesuffix(_joint(addition))
        for frame in _FRAMES:
            start, end = frame.split("{}")
            if words.startswith(start) and words.endswith(end) and len(words) > len(frame) - 2:
                words = words.removeprefix(start).removesuffix(end)
        words = re.sub("^(a|an|the) (?=.)", "", words)
    return words


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


def _joint(addition: str) -> str:
    return f" {addition}" if addition.startswith(("in ", "on ")) else f", {addition}"

"""Words one by one: a table of vectors in which words of like meaning lie together.

The text encoder, which reads whole texts, often misses a rare single word ("puke"); a table made from far
more text, and drawn together by a thesaurus, knows it. tools/convert_words.py made the folder. A row of the
table is four bits a number, two numbers a byte, low half first:

    vector = weight * q / |q|,    q = byte half - 8 in [-7, 7]

The weight says how telling the word is: rare words more than frequent ones.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import SfumatoError
from sfumato.models.files.store import DESCRIPTION, read_file, read_folder
from sfumato.models.text.phrasing import without_frame

FOLDER = Path(__file__).parents[2] / "weights" / "word-vectors"
FORMAT, KIND = 1, "word-vectors"
WORDS = "words.txt"  # one a line, in the order of the rows
BAG = 96  # components of a word, and of a text as a bag of words
ZERO, MOST = 8, 7  # of half a byte

# Endings of plurals and of verbs, and what stands in their place in the word that the table has
PLURALS = (("ies", "y"), ("es", ""), ("s", ""))
_ENDINGS = (*PLURALS, ("ied", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))
_STEM = 3  # letters, at least, before an ending


class WordVectors:
    """The table of W words: packed (W, BAG / 2) uint8, weight (W,); sha256 is that of the file."""

    def __init__(self, words: Sequence[str], packed: Tensor, weight: Tensor, *, sha256: str) -> None:
        if packed.shape != (len(words), BAG // 2) or weight.shape != (len(words),):
            raise ValueError(f"{len(words)} words have rows {tuple(packed.shape)}, {tuple(weight.shape)}")
        self._row = {word: row for row, word in enumerate(words)}
        self._packed, self._weight, self.sha256 = packed, weight, sha256

    def bag(self, texts: Sequence[str]) -> Tensor:
        """Each text as a bag of words (N, BAG): their vectors' sum, at unit length.

        A text without a known word is zero. Frames ("a photo of"; `phrasing`) do not describe the
        picture and are left out.
        """
        return torch.cat([self._bag(text) for text in texts])

    def _bag(self, text: str) -> Tensor:
        found = map(self._find, words_of(without_frame(text)))
        rows = torch.tensor([row for row in found if row is not None], dtype=torch.int64)
        vectors = F.normalize(unpack(self._packed[rows]), dim=1) * self._weight[rows, None]  # (R, BAG)
        return F.normalize(vectors.sum(0, keepdim=True), dim=1)

    def knows(self, word: str) -> bool:
        """Whether a word, in lower case, or one that it is a form of is in the table."""
        return self._find(word) is not None

    def _find(self, word: str) -> int | None:
        """The row of a word, or else of the word that it is a form of."""
        return next((self._row[form] for form in _forms(word) if form in self._row), None)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, without accents."""
    plain = unicodedata.normalize("NFKD", text.lower())
    return re.findall("[a-z]+", re.sub(r"'s\b|[\u0300-\u036f]", "", plain))


def _forms(word: str) -> Iterator[str]:
    yield word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) >= _STEM + len(ending):
            yield word.removesuffix(ending) + instead


def unpack(packed: Tensor) -> Tensor:
    """(W, C / 2) uint8 -> q (W, C) float32."""
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1).float() - ZERO


@lru_cache(maxsize=1)
def load_word_vectors() -> WordVectors:
    """The word vectors that ship with the package, one a process; errors as of `read_word_vectors`."""
    return read_word_vectors(FOLDER)


def read_word_vectors(folder: Path) -> WordVectors:
    """The word vectors of a folder, its files verified.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is damaged, or of a format that this version does not read.
    """
    description, tensors = read_folder(folder)
    if (description.get("kind"), description.get("format")) != (KIND, FORMAT):
        raise SfumatoError(f"{folder / DESCRIPTION} is no table of word vectors that this version reads")
    words, sha256 = read_file(folder, description, WORDS).decode().split(), description["weights"]["sha256"]
    try:
        return WordVectors(words, tensors["packed"], tensors["weight"], sha256=sha256)
    except (KeyError, ValueError) as error:
        raise SfumatoError(f"{folder} does not hold word vectors: {error}") from error

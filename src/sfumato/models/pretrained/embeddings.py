"""Prompts as their text encoder has them: encoded once, kept on disk, carried from machine to machine.

An embedding depends on the text encoder and the text alone, so that it is cached under both, and a file of
embeddings makes the text encoder needless where pictures are made.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sfumato.cache import cache_folder
from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError, first_line
from sfumato.models.files.headers import read_shapes
from sfumato.pictures.files import publish

FORMAT = "sfumato-embeddings-1"
ROWS = 8  # texts that go through the encoder together

POOLED = ".pooled"  # ends the name of a pooled embedding in a file


@dataclass(frozen=True, eq=False)
class PromptEmbedding:
    """Texts as a network takes them, float32: of one text, or of n with n as the first dimension.

    hidden: (L, D), one vector for each token. pooled: (P,), one for all of it; None where there is none.
    """

    hidden: Tensor
    pooled: Tensor | None = None

    def __getitem__(self, i: int) -> PromptEmbedding:
        """That of text i, in memory of its own."""
        return PromptEmbedding(
            self.hidden[i].clone(), None if self.pooled is None else self.pooled[i].clone()
        )


Encode = Callable[[Sequence[str]], PromptEmbedding]  # n texts -> (n, L, D) and (n, P), on the CPU


class Embeddings:
    """The embeddings of one text encoder.

    load: brings the encoder into memory; None where there is none. It is called for all new texts at once,
    and what it returns is dropped right after, so that the memory is free again. key: the sha256 of the
    encoder's weights, called when it is needed. clean: texts as the encoder was trained on them; two texts
    that are cleaned alike are one. width, pooled: D and P that the network takes.
    """

    def __init__(
        self,
        load: Callable[[], Encode] | None,
        key: Callable[[], str],
        *,
        width: int,
        pooled: int | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._load, self._key, self._clean = load, key, clean
        self._encoder: str | None = None
        self.width, self.pooled = width, pooled
        self._known: dict[str, PromptEmbedding] = {}

    @property
    def key(self) -> str | None:
        """The sha256 of the text encoder; None where there is none."""
        if self._encoder is None and self._load is not None:
            self._encoder = self._key()
        return self._encoder

    def prepare(self, texts: Sequence[str]) -> None:
        """Have the embeddings of these texts at hand, encoding those that are new.

        Raises:
            ModelUnavailableError: one is new and there is no text encoder.
        """
        cleaned = list(dict.fromkeys(self._clean(text) for text in texts))
        missing = [text for text in cleaned if text not in self._known and not self._recall(text)]
        if not missing:
            return
        if self._load is None:
            raise ModelUnavailableError(
                f"this model has no text encoder and no embedding of {missing[0]!r}: import one that was "
                "encoded elsewhere"
            )
        encode = self._load()
        for start in range(0, len(missing), ROWS):
            part = missing[start : start + ROWS]
            encoded = encode(part)
            for i, text in enumerate(part):
                self._known[text] = encoded[i]
                self._keep(text)

    def rows(self, texts: Sequence[str], device: torch.device) -> PromptEmbedding:
        """The embeddings of N texts, (N, L, D) and (N, P), on the device."""
        self.prepare(texts)
        rows = [self._known[self._clean(text)] for text in texts]
        pooled = [row.pooled for row in rows if row.pooled is not None]
        hidden = torch.stack([row.hidden for row in rows]).to(device)
        return PromptEmbedding(hidden, torch.stack(pooled).to(device) if pooled else None)

    def borrow(self, other: Embeddings) -> None:
        """Where there is no text encoder here, ask that of another model that takes the same texts."""
        same = (self.width, self.pooled, self._clean) == (other.width, other.pooled, other._clean)
        if self._load is None and same and self._encoder in {None, other.key}:
            self._load, self._key, self._encoder = other._load, other._key, other._encoder
            other._known.update(self._known)
            self._known = other._known  # what one of them encodes both know

    # -- files for other machines

    def export(self, path: Path, texts: Sequence[str]) -> Path:
        """Write the embeddings of these texts as one safetensors file, for `read` elsewhere.

        Raises:
            UsageError: the file would not be a .safetensors.
            ModelUnavailableError: a text is new and there is no text encoder.
            SfumatoError: it cannot be written.
        """
        if path.suffix.lower() != ".safetensors":
            raise UsageError(f"{path}: embeddings are written as .safetensors")
        self.prepare(texts)
        _write(path, {text: self._known[text] for text in map(self._clean, texts)}, self.key or "")
        return path

    def read(self, path: Path) -> list[str]:
        """Take over the embeddings of a file that `export` wrote; returns their texts.

        Raises:
            UsageError: it is of another text encoder, does not fit, or is no such file.
        """
        found, key = _read(path)
        if self.key and key and key != self.key:
            raise UsageError(f"{path} was encoded by another text encoder ({key[:12]}, not {self.key[:12]})")
        for text, embedding in found.items():
            self._check(f"{path}: {text!r:.40}", embedding)
        if len({embedding.hidden.shape for embedding in (*self._known.values(), *found.values())}) > 1:
            raise UsageError(f"{path} holds embeddings of another length than others: encode them together")
        self._encoder = self._encoder or key or None
        self._known |= found
        return list(found)

    def _check(self, what: str, embedding: PromptEmbedding) -> None:
        hidden, pooled = embedding.hidden, embedding.pooled
        if hidden.dim() != 2 or hidden.shape[1] != self.width:
            raise UsageError(
                f"{what} has the shape {tuple(hidden.shape)}; this model takes (L, {self.width}): it is of "
                "another text encoder"
            )
        if (None if pooled is None else tuple(pooled.shape)) != (self.pooled and (self.pooled,)):
            raise UsageError(
                f"{what} has {'no' if pooled is None else 'another'} pooled part than this model takes "
                f"({self.pooled or 'none'}): it is of another text encoder"
            )
        for part in (hidden, pooled):
            if part is not None and not bool(torch.isfinite(part).all()):
                raise UsageError(f"{what} has values that are not finite: encode it again in float32")

    # -- the cache

    def _place(self, text: str) -> Path | None:
        if self.key is None:
            return None
        name = hashlib.sha256(text.encode()).hexdigest()
        return cache_folder() / "embeddings" / self.key / f"{name}.safetensors"

    def _recall(self, text: str) -> bool:
        """Take an embedding from the cache; one that is damaged counts as none."""
        place = self._place(text)
        if place is None or not place.is_file():
            return False
        try:
            found, _ = _read(place)
            for embedding in found.values():
                self._check(str(place), embedding)
        except SfumatoError:
            return False
        self._known |= found
        return text in found

    def _keep(self, text: str) -> None:
        place = self._place(text)
        if place is None:
            return
        try:
            _write(place, {text: self._known[text]}, self.key or "")
        except SfumatoError as error:
            warnings.warn(f"{error}: prompts are encoded anew in every run", stacklevel=2)


def _write(path: Path, embeddings: Mapping[str, PromptEmbedding], key: str) -> None:
    """One file of embeddings, there whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for i, embedding in enumerate(embeddings.values()):
        tensors[str(i)] = embedding.hidden.contiguous()
        if embedding.pooled is not None:
            tensors[f"{i}{POOLED}"] = embedding.pooled.contiguous()
    content = save(tensors, {"format": FORMAT, "encoder": key, "texts": json.dumps(list(embeddings))})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SfumatoError(f"cannot write embeddings to {path}: {error}") from error
    publish(path, content)


def _read(path: Path) -> tuple[dict[str, PromptEmbedding], str]:
    """The embeddings of a file by their texts, and the key of their encoder."""
    try:
        read_shapes(path)
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise UsageError(f"{path} holds no embeddings that sfumato wrote")
            texts, names = json.loads(about["texts"]), set(file.keys())
            found = {}
            for i, text in enumerate(texts):
                pooled = file.get_tensor(f"{i}{POOLED}").float() if f"{i}{POOLED}" in names else None
                found[str(text)] = PromptEmbedding(file.get_tensor(str(i)).float(), pooled)
            return found, about["encoder"]
    except UsageError:
        raise
    except (OSError, SafetensorError, SfumatoError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as embeddings: {first_line(error)}") from error

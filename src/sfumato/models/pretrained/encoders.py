"""The text encoders of a folder: loaded when a text is new, dropped right after."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.models.pretrained.embeddings import Embeddings, Encode, PromptEmbedding
from sfumato.models.pretrained.loading import Folder, check_network, load_network, load_tokenizer
from sfumato.models.pretrained.safety import weights_digest


def text_embeddings(
    folder: Folder,
    *,
    device: torch.device | str,
    width: int,
    length: Callable[[Any], int],
    masked: Callable[[nn.Module], bool],
    clean: Callable[[str], str] = str,
) -> Embeddings:
    """The embeddings of the folder's one text encoder: its last hidden states.

    length: how many tokens a text is padded or cut to, given the tokenizer. masked: whether padding is hidden
    from the encoder.
    """

    def load() -> Encode:
        tokenizer = load_tokenizer(folder)
        encoder = load_network(folder, "text_encoder", device=device, dtype=torch.float32)

        def encode(texts: Sequence[str]) -> PromptEmbedding:
            tokens, mask = _tokens(tokenizer, texts, length(tokenizer))
            with torch.inference_mode():
                hidden: Tensor = encoder(
                    tokens.to(device), attention_mask=mask.to(device) if masked(encoder) else None
                )[0]
            return PromptEmbedding(hidden.float().cpu())

        return encode

    return _embeddings(folder, ["text_encoder"], load, width=width, pooled=None, clean=clean)


def two_text_embeddings(folder: Folder, *, device: torch.device | str, width: int, pooled: int) -> Embeddings:
    """The embeddings of Stable Diffusion XL: the last hidden states but one of two CLIPs side by side.

    LowResolution them the second one's pooled projection (Podell et al. 2023, SDXL, sec. 2.1).
    """
    names = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}

    def load() -> Encode:
        pairs = [
            (load_tokenizer(folder, own), load_network(folder, name, device=device, dtype=torch.float32))
            for name, own in names.items()
        ]

        def encode(texts: Sequence[str]) -> PromptEmbedding:
            hidden: list[Tensor] = []
            for tokenizer, encoder in pairs:
                tokens, _ = _tokens(tokenizer, texts, int(tokenizer.model_max_length))
                with torch.inference_mode():
                    answer = encoder(tokens.to(device), output_hidden_states=True)
                hidden.append(answer.hidden_states[-2].float().cpu())
            return PromptEmbedding(torch.cat(hidden, dim=-1), answer.text_embeds.float().cpu())

        return encode

    return _embeddings(folder, list(names), load, width=width, pooled=pooled)


def _embeddings(
    folder: Folder,
    encoders: Sequence[str],
    load: Callable[[], Encode],
    *,
    width: int,
    pooled: int | None,
    clean: Callable[[str], str] = str,
) -> Embeddings:
    """The embeddings of encoders that are checked now; without them those of files alone."""
    if not all(folder.has(name) for name in encoders):
        return Embeddings(None, str, width=width, pooled=pooled, clean=clean)
    for name in encoders:
        check_network(folder, name)

    def key() -> str:
        digests = [weights_digest(folder.at(name)) for name in encoders]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    return Embeddings(load, key, width=width, pooled=pooled, clean=clean)


def _tokens(tokenizer: Any, texts: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
    """Tokens (n, L) of texts, padded or cut to `most`, and their mask."""
    for text in texts:
        if len(tokenizer(text).input_ids) > most:
            warnings.warn(f"the prompt is cut to {most} tokens: {text!r:.60}", stacklevel=2)
    batch = tokenizer(
        list(texts), padding="max_length", max_length=most, truncation=True, return_tensors="pt"
    )
    return batch.input_ids, batch.attention_mask

"""The text encoders of a folder: loaded when a text is new, dropped right after."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sfumato.models.pretrained.embeddings import Embeddings, Encode, PromptEmbedding
from sfumato.models.pretrained.loading import Folder, check_network, load_network, load_tokenizer
from sfumato.models.pretrained.safety import weights_digest


def text_embeddings(
    folder: Folder,
    tokenizers: Mapping[str, str],
    *,
    device: torch.device | str,
    width: int,
    pooled: int | None = None,
    length: int | None = None,
    masked: bool | None = None,
    clean: Callable[[str], str] = str,
) -> Embeddings:
    """The last hidden states of text encoders, side by side.

    Stable Diffusion XL (Podell et al. 2023, sec. 2.1), for which `pooled` is given, takes the last states but
    one, and beside them the pooled projection of the last encoder. The encoders are checked now; where one is
    not there, the embeddings are those of files alone.

    tokenizers: that of every encoder. length: how many tokens a text is padded or cut to; None is what the
    tokenizer says. masked: whether padding is hidden from an encoder; None is what its configuration says.
    """
    if not all(folder.has(name) for name in tokenizers):
        return Embeddings(None, str, width=width, pooled=pooled, clean=clean)
    for name in tokenizers:
        check_network(folder, name)

    def load() -> Encode:
        pairs = [
            (load_tokenizer(folder, own), load_network(folder, name, device=device, dtype=torch.float32))
            for name, own in tokenizers.items()
        ]

        def encode(texts: Sequence[str]) -> PromptEmbedding:
            hidden: list[Tensor] = []
            for tokenizer, encoder in pairs:
                tokens, mask = _tokens(tokenizer, texts, length or int(tokenizer.model_max_length))
                hides = getattr(encoder.config, "use_attention_mask", False) if masked is None else masked
                with torch.inference_mode():
                    answer = encoder(
                        tokens.to(device),
                        attention_mask=mask.to(device) if hides else None,
                        output_hidden_states=pooled is not None,
                    )
                hidden.append((answer[0] if pooled is None else answer.hidden_states[-2]).float().cpu())
            whole = None if pooled is None else answer.text_embeds.float().cpu()
            return PromptEmbedding(torch.cat(hidden, dim=-1), whole)

        return encode

    def key() -> str:
        return weights_digest(*(folder.at(name) for name in tokenizers))

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

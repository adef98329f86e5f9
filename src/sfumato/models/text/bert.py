"""BERT's encoder: a transformer that sees a whole text at once (Devlin et al. 2018; Vaswani et al. 2017).

For texts by themselves: BERT's embedding of "first sentence", which every token then has, is part of the
embedding of its position. Normalisation follows each sum, as in the first transformers.

N texts, L tokens, D numbers a token, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-12  # of the normalisation


class Layer(nn.Module):
    """Every token looks at all tokens of its text, then is thought over by itself: (N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)

    def forward(self, h: Tensor, seen: Tensor) -> Tensor:
        n, length, width = h.shape
        qkv = self.qkv(h).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  #                                         each (N, H, L, D/H)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  #                   (N, H, L, D/H)
        h = self.norm1(h + self.mix(mixed.transpose(1, 2).reshape(n, length, width)))  #     (N, L, D)
        out: Tensor = self.norm2(h + self.down(F.gelu(self.up(h))))  #                       (N, L, D)
        return out


class Bert(nn.Module):
    """The encoder.

    words      in the vocabulary
    positions  a text has at most this many tokens
    width      D, a multiple of heads
    inner      width of the layers' hidden layer
    """

    def __init__(
        self, *, words: int, positions: int, width: int, heads: int, layers: int, inner: int
    ) -> None:
        super().__init__()
        # no first weights are drawn, which on the meta device would import torch's compiler: seconds
        self.word = nn.Embedding.from_pretrained(torch.empty(words, width), freeze=False)  # type: ignore[no-untyped-call]
        self.position = nn.Embedding.from_pretrained(torch.empty(positions, width), freeze=False)  # type: ignore[no-untyped-call]
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token states (N, L, D) of ids (N, L) int64; mask (N, L) bool is False at padding, not seen."""
        places = torch.arange(ids.shape[1], device=ids.device)  #                            (L,)
        h: Tensor = self.norm(self.word(ids) + self.position(places))  #                     (N, L, D)
        for layer in self.layers:
            h = layer(h, mask[:, None, None, :])  #                                          (N, L, D)
        return h

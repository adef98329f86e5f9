"""Blocks of diffusers' UNets, run with fewer and larger operations than they are written in.

At one picture a network of small maps spends its time between operators, not in them. What is said here once:

- every residual block projects the same embedding of time: all those projections are one product;
- its bias over positions is the bias of the convolution before it, when all rows of a batch share it;
- a convolution adds the picture that goes around its block while it writes;
- queries, keys and values are one product (diffusers' own FusedAttnProcessor2_0).

The answers are those of diffusers within the rounding of the arithmetic. A block that is configured otherwise
than is read here runs as diffusers has written it.
"""

from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, FusedAttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from sfumato.models.runtime.packing import BLOCKS, PackedLinear, Packing, version


class TimeProjections:
    """What all residual blocks of a network make of the embedding of time (N, E), in one product."""

    def __init__(self, activation: nn.Module | None, packing: Packing) -> None:
        self._activation, self._packing = activation, packing
        self._layers: list[nn.Linear] = []  # until they are one
        self._sizes: list[int] = []
        self._all: PackedLinear | None = None
        self._asked: Tensor | None = None
        self._version = 0
        self._answers: tuple[Tensor, ...] = ()

    def add(self, layer: nn.Linear) -> int:
        """The place of a block's projection among the answers; before they are first asked for."""
        self._layers.append(layer)
        self._sizes.append(layer.out_features)
        return len(self._sizes) - 1

    def __call__(self, embedding: Tensor) -> tuple[Tensor, ...]:
        """(N, E) -> (N, C) for each block; computed when the first block of a forward pass asks."""
        if self._asked is not embedding or self._version != version(embedding):
            if self._all is None:
                self._all, self._layers = self._packing.linear(*self._layers), []
            active = embedding if self._activation is None else self._activation(embedding)
            self._answers = self._all(active).split(self._sizes, dim=1)
            self._asked, self._version = embedding, version(embedding)
        return self._answers


class ResidualBlock(nn.Module):
    """A ResnetBlock2D on packed weights: (N, C, H, W) and the embedding of time (N, E) -> (N, C', H', W')."""

    def __init__(self, block: ResnetBlock2D, packing: Packing, times: TimeProjections) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.activation = packing.ready(block.nonlinearity)
        self.resized = block.upsample or block.downsample
        self.conv1, self.conv2 = packing.convolution(block.conv1), packing.convolution(block.conv2)
        shortcut = block.conv_shortcut
        self.shortcut = None if shortcut is None else packing.convolution(shortcut)
        self.scales = block.time_embedding_norm == "scale_shift"
        self._times, self._place = times, times.add(block.time_emb_proj)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.activation(self.norm1(x))
        if self.resized is not None:
            x, h = self.resized(x), self.resized(h)
        time = self._times(embedding)[self._place]
        h = self._scaled(h, time) if self.scales else self._shifted(h, time)
        h = self.activation(h)
        return self.conv2.added_to(x if self.shortcut is None else self.shortcut(x), h)

    def _shifted(self, h: Tensor, time: Tensor) -> Tensor:
        bias = self.conv1.ready_bias
        if len(time) == 1 and bias is not None:
            h = self.conv1.with_bias(h, bias() + time[0])
        else:
            h = self.conv1(h) + time[:, :, None, None]
        return cast(Tensor, self.norm2(h))

    def _scaled(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = time[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, self.norm2(self.conv1(h)), 1 + scale)


def residual_block(block: ResnetBlock2D, packing: Packing) -> ResidualBlock | None:
    """A residual block of the usual kind, or None."""
    layers = {type(layer) for layer in (block.conv1, block.conv2, block.conv_shortcut) if layer is not None}
    known = (
        block.time_emb_proj is not None
        and block.time_embedding_norm in ("default", "scale_shift")
        and block.output_scale_factor == 1.0
        and type(block.nonlinearity) in (nn.SiLU, nn.GELU)
        and not block.training
        and layers == {nn.Conv2d}
    )
    if not known:
        return None
    activation = None if block.skip_time_act else packing.ready(block.nonlinearity)
    key = "time", type(activation)
    if key not in packing.shared:
        packing.shared[key] = TimeProjections(activation, packing)
    return ResidualBlock(block, packing, packing.shared[key])


class PositionAttention(nn.Module):
    """An Attention of the positions of a picture, which is added to it: (N, C, H, W) stays so."""

    def __init__(self, attention: Attention, packing: Packing) -> None:
        super().__init__()
        self.heads = attention.heads
        self.norm = attention.group_norm
        self.to_qkv = packing.linear(attention.to_q, attention.to_k, attention.to_v)
        self.to_out = packing.linear(cast(nn.Linear, attention.to_out[0]))

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """temb is what attentions with a spatial norm read; the name is diffusers' own."""
        n, c, h, w = x.shape
        q, k, v = self.to_qkv(_rows(self.norm(x))).view(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, -1)
        return self.to_out.added_to(_rows(x), mixed).view(n, h, w, c).permute(0, 3, 1, 2)


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H W, C); a view of what lies channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def self_attention(attention: Attention, packing: Packing) -> nn.Module | None:
    """An attention of positions, or of tokens, to one another, or None."""
    parts = [attention.to_q, attention.to_k, attention.to_v]
    known = (
        isinstance(attention.processor, AttnProcessor2_0)
        and not attention.is_cross_attention
        and attention.spatial_norm is None
        and attention.norm_q is None
        and attention.norm_k is None
        and all(type(part) is nn.Linear for part in (*parts, attention.to_out[0]))
    )
    if not known:
        return None
    if attention.group_norm is not None and attention.residual_connection:
        return PositionAttention(attention, packing) if attention.rescale_output_factor == 1.0 else None
    made = packing.around(attention, without=("to_q", "to_k", "to_v"))
    made.to_qkv = packing.linear(*parts)
    made.__dict__["processor"] = FusedAttnProcessor2_0()  # type: ignore[no-untyped-call]
    return made


BLOCKS[ResnetBlock2D] = residual_block
BLOCKS[Attention] = self_attention

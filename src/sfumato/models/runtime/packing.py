"""Layers with their weights made ready once: packed for a CPU's convolutions, or cast to another dtype.

PyTorch's eager convolution brings its weights into the blocked layout of oneDNN in every call, which at one
picture costs as much as the convolution itself, and autocast casts them in every call besides. Inductor packs
them once through torch.ops.mkldnn; here those operators are used without compiling anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.models.runtime.eager import GELU, PROMPT_MODULES, Cached, without_division

_OPERATORS = (
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_reorder_linear_weight",
    "_linear_pointwise",
)
ATTENTION_NORM = "group_norm"  # what diffusers calls the normalisation of the positions that attend


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch and this processor pack weights of a dtype."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS):
        return False
    bf16 = dtype is torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32 or bf16


def adapted(network: nn.Module, device: torch.device, dtype: torch.dtype, *, owned: bool) -> nn.Module:
    """The network with its layers made ready for an arithmetic.

    A network that is `owned` is changed in place and its weights, which stay what they are, are freed as they
    are packed. Of another one this is a second network on the same weights, which follows when they are
    changed.
    """
    packs = device.type == "cpu" and can_pack(dtype)
    if not packs and (owned or dtype is torch.float32):
        return network
    return Packing(dtype, owned=owned, packs=packs).ready(network)


class Packing:
    """One network on its way to being ready: how its layers are to be, and what they have in common.

    owned: as in `adapted`. shared: what blocks that are ready share with later ones, by their own names.
    """

    def __init__(self, dtype: torch.dtype, *, owned: bool, packs: bool = True) -> None:
        self.dtype, self.owned, self._packs = dtype, owned, packs
        self.shared: dict[object, Any] = {}
        self._done: dict[nn.Module, nn.Module] = {}

    def ready(self, module: nn.Module, name: str = "") -> nn.Module:
        """The module, called so in its parent, with its layers replaced; layers that are one stay one."""
        if module not in self._done:
            made = self._replaced(name, module) or self.around(module)
            self._done[module] = Cached(made) if self.owned and name in PROMPT_MODULES else made
        return self._done[module]

    def around(self, module: nn.Module, *, without: Collection[str] = ()) -> nn.Module:
        """The module around its parts made ready; those `without` are left out."""
        made = module if self.owned else copy(module)
        made.__dict__["_modules"] = {
            name: child and self.ready(child, name)
            for name, child in module._modules.items()
            if name not in without
        }
        without_division(made)
        return made

    def _replaced(self, name: str, layer: nn.Module) -> nn.Module | None:
        """What runs instead of a layer or a block; None for what runs itself."""
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            return self.convolution(layer) if self._packs else CastConv2d(layer, self.dtype)
        if type(layer) is nn.Linear:
            return self.linear(layer) if self._packs else CastLinear(layer, dtype=self.dtype)
        if not self._packs:
            return None
        if type(layer) is nn.GroupNorm and name == ATTENTION_NORM:
            return TokenGroupNorm(layer)
        if type(layer) is nn.GELU and layer.approximate == "none":
            return GELU()
        block = BLOCKS.get(type(layer))
        return None if block is None else block(layer, self)

    def convolution(self, layer: nn.Conv2d) -> PackedConv2d:
        """A convolution on packed weights."""
        return PackedConv2d(layer, dtype=self.dtype, owned=self.owned)

    def linear(self, *layers: nn.Linear) -> PackedLinear:
        """A linear layer on packed weights; of several that see the same, all answers side by side."""
        return PackedLinear(*layers, dtype=self.dtype, owned=self.owned)


# Blocks of foreign networks for which there is something faster than their layers one by one: by their class,
# what runs instead, or None when this one is not as expected. Who brings the networks adds them.
BLOCKS: dict[type[nn.Module], Callable[[Any, Packing], nn.Module | None]] = {}


class Ready:
    """Parameters, one behind another, in the form in which they are used.

    It is made at the first use, and again after they were changed.
    """

    def __init__(self, *sources: Tensor, make: Callable[..., Tensor], owned: bool) -> None:
        self._sources = sources
        self._make, self._owned = make, owned
        self._made: Tensor | None = None
        self._known: tuple[object, ...] = ()

    def __call__(self, *how: object) -> Tensor:
        """The form; `how` is what else it depends on, and it is made again when that changes."""
        known = how if self._owned else (*map(version, self._sources), *how)
        if self._made is None or known != self._known:
            sources = self._sources
            if not sources:  # freed weights are read back from their packed form
                assert self._made is not None
                sources = (self._made.to_dense(),)
            source = sources[0] if len(sources) == 1 else torch.cat([part.detach() for part in sources])
            self._made, self._known = self._make(source.detach(), *how), known
            if self._owned:
                self._sources = ()
        return self._made


def version(x: Tensor) -> int:
    """How often a tensor was changed; tensors made for inference alone do not count that."""
    return 0 if x.is_inference() else x._version


class _Layer(nn.Module):
    """A layer of the network with its parameters made ready; `weight` and `bias` tell what they were.

    A layer of an owned network keeps an empty weight, whose dtype networks may still read.
    """

    def __init__(self, *layers: nn.Conv2d | nn.Linear, dtype: torch.dtype, owned: bool = False) -> None:
        super().__init__()
        self.dtype = dtype
        weight, biases = layers[0].weight, [layer.bias for layer in layers if layer.bias is not None]
        self.weight = nn.Parameter(weight.new_empty(0), requires_grad=False) if owned else weight
        self.bias = layers[0].bias
        self.ready = Ready(*(layer.weight for layer in layers), make=self._made, owned=owned)
        self.ready_bias = Ready(*biases, make=self._cast, owned=False) if biases else None

    def _cast(self, parameter: Tensor) -> Tensor:
        return parameter.to(self.dtype)

    def _made(self, weight: Tensor, *how: object) -> Tensor:  # noqa: ARG002
        return self._cast(weight)

    def _added(self) -> Tensor | None:
        return None if self.ready_bias is None else self.ready_bias()


class PackedConv2d(_Layer):
    """nn.Conv2d on packed weights: (N, I, H, W) -> (N, O, H', W') in `dtype`."""

    def __init__(self, layer: nn.Conv2d, *, dtype: torch.dtype, owned: bool) -> None:
        super().__init__(layer, dtype=dtype, owned=owned)
        self.settings = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups

    def _made(self, weight: Tensor, *how: object) -> Tensor:
        weight = self._cast(weight).contiguous(memory_format=torch.channels_last)
        (shape,) = how
        made: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.settings, shape)
        return made

    def forward(self, x: Tensor) -> Tensor:
        return self.with_bias(x, self._added())

    def with_bias(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """What it answers with another bias (O,), or none."""
        x = x.to(self.dtype)
        weight = self.ready(tuple(x.shape))  # for another shape it would be right, and several times slower
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *self.settings, "none", [], "")
        return out

    def added_to(self, y: Tensor, x: Tensor) -> Tensor:
        """y + what it answers to x, in one pass."""
        x, y = x.to(self.dtype), y.to(self.dtype)
        weight, bias = self.ready(tuple(x.shape)), self._added()
        out: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, y, weight, bias, *self.settings, "add", 1.0, None, [], None
        )
        return out


class PackedLinear(_Layer):
    """nn.Linear on packed weights: (..., I) -> (..., O) in `dtype`; of several layers the sum of their O."""

    def _made(self, weight: Tensor, *how: object) -> Tensor:  # noqa: ARG002
        made: Tensor = torch.ops.mkldnn._reorder_linear_weight(self._cast(weight).contiguous(), None)
        return made

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.ready(), self._added(), "none", [], ""
        )
        return out

    def added_to(self, y: Tensor, x: Tensor) -> Tensor:
        """y + what it answers to x, in one pass."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x.to(self.dtype), y.to(self.dtype), self.ready(), self._added(), "add"
        )
        return out


class CastConv2d(_Layer):
    """nn.Conv2d whose weights were cast once."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__(layer, dtype=dtype)
        self.settings: tuple[Any, ...] = layer.stride, layer.padding, layer.dilation, layer.groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.to(self.dtype), self.ready(), self._added(), *self.settings)


class CastLinear(_Layer):
    """nn.Linear whose weights were cast once."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.dtype), self.ready(), self._added())


class TokenGroupNorm(nn.GroupNorm):
    """nn.GroupNorm that keeps the layout of tokens: (N, C, L) which lies in memory as (N, L, C) stays so.

    PyTorch normalises channels-last pictures where they lie, but copies tokens into (N, C, L) first, and the
    layers after it copy them back. For tokens that are positions of a picture only: the channels-last kernel
    takes the variance as E x^2 - (E x)^2, which padded texts, nearly constant, do not survive (docs/log.md).
    """

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__(layer.num_groups, layer.num_channels, layer.eps, affine=False)
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or not x.mT.is_contiguous():
            return super().forward(x)
        n, c, length = x.shape
        # (N, C, L, 1), channels last; a view of a single row would keep the strides it has, and be copied
        picture = x.as_strided((n, c, length, 1), (c * length, 1, c, c))
        return super().forward(picture).squeeze(3)

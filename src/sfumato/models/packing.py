"""Layers with their weights made ready once: packed for a CPU's convolutions, or cast to another dtype.

PyTorch's eager convolution brings its weights into the blocked layout of oneDNN in every call, which at one
picture costs as much as the convolution itself, and autocast casts them in every call besides. Inductor packs
them once through torch.ops.mkldnn; here those operators are used without compiling anything.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.models.spared import GELU, OF_PROMPTS, Remembered, without_division

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
    operators = all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    known = dtype is torch.float32 or (
        dtype is torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
    return operators and known


def adapted(network: nn.Module, device: torch.device, dtype: torch.dtype, *, given: bool) -> nn.Module:
    """The network with its layers made ready for an arithmetic.

    A network that is `given` is changed in place and its weights, which stay what they are, are freed as they
    are packed. Of another one this is a second network on the same weights, which follows when they are
    changed.
    """
    packs = device.type == "cpu" and can_pack(dtype)
    if given and not packs:
        return network

    def ready(name: str, layer: nn.Module) -> nn.Module | None:
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            return PackedConv2d(layer, dtype, given=given) if packs else CastConv2d(layer, dtype)
        if type(layer) is nn.Linear:
            return PackedLinear(layer, dtype, given=given) if packs else CastLinear(layer, dtype)
        if type(layer) is nn.GroupNorm and name == ATTENTION_NORM and packs:
            return TokenGroupNorm(layer)
        if type(layer) is nn.GELU and layer.approximate == "none" and packs:
            return GELU()
        return None

    if not packs and dtype is torch.float32:
        return network
    return _replaced("", network, ready, in_place=given, done={})


def _replaced(
    name: str,
    module: nn.Module,
    ready: Callable[[str, nn.Module], nn.Module | None],
    *,
    in_place: bool,
    done: dict[nn.Module, nn.Module],
) -> nn.Module:
    """The module with its layers replaced; layers that are one stay one."""
    if module not in done:
        own = ready(name, module)
        made = own or (module if in_place else copy(module))
        if own is None:
            children = {
                name: child and _replaced(name, child, ready, in_place=in_place, done=done)
                for name, child in module._modules.items()
            }
            made.__dict__["_modules"] = children
            without_division(made)
        done[module] = Remembered(made) if in_place and name in OF_PROMPTS else made
    return done[module]


class Ready:
    """A parameter in the form in which it is used: made at its first use, and again after it was changed."""

    def __init__(self, source: Tensor, make: Callable[..., Tensor], *, given: bool) -> None:
        self._source: Tensor | None = source
        self._make, self._given = make, given
        self._made: Tensor | None = None
        self._known: tuple[object, ...] = ()

    def __call__(self, *how: object) -> Tensor:
        """The parameter; `how` is what else its form depends on, and it is made again when that changes."""
        source = self._source
        known = (0 if self._given or source is None else _version(source), *how)
        if self._made is None or known != self._known:
            if source is None:
                assert self._made is not None
                source = self._made.to_dense()  # what was given away is had back from its packed form
            self._made, self._known = self._make(source.detach(), *how), known
            if self._given:
                self._source = None
        return self._made


def _version(x: Tensor) -> int:
    """How often a tensor was changed; tensors made for inference alone do not count that."""
    return 0 if x.is_inference() else x._version


class _Layer(nn.Module):
    """A layer of the network with its parameters made ready; `weight` and `bias` tell what they were.

    A layer that is given away keeps an empty weight, which still has the dtype that networks ask for.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, dtype: torch.dtype, *, given: bool = False) -> None:
        super().__init__()
        self.dtype = dtype
        weight = layer.weight
        self.weight = nn.Parameter(weight.new_empty(0), requires_grad=False) if given else weight
        self.bias = layer.bias
        self.ready = Ready(weight, self._made, given=given)
        self.ready_bias = None if layer.bias is None else Ready(layer.bias, self._cast, given=False)

    def _cast(self, parameter: Tensor) -> Tensor:
        return parameter.to(self.dtype)

    def _made(self, weight: Tensor, *how: object) -> Tensor:  # noqa: ARG002
        return self._cast(weight)

    def _added(self) -> Tensor | None:
        return None if self.ready_bias is None else self.ready_bias()


class PackedConv2d(_Layer):
    """nn.Conv2d on packed weights: (N, I, H, W) -> (N, O, H', W') in `dtype`."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype, *, given: bool) -> None:
        super().__init__(layer, dtype, given=given)
        self.settings = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups

    def _made(self, weight: Tensor, *how: object) -> Tensor:
        weight = self._cast(weight).contiguous(memory_format=torch.channels_last)
        (shape,) = how
        made: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.settings, shape)
        return made

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        weight = self.ready(tuple(x.shape))  # for another shape it would be right, and several times slower
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, self._added(), *self.settings, "none", [], ""
        )
        return out


class PackedLinear(_Layer):
    """nn.Linear on packed weights: (..., I) -> (..., O) in `dtype`."""

    def _made(self, weight: Tensor, *how: object) -> Tensor:  # noqa: ARG002
        made: Tensor = torch.ops.mkldnn._reorder_linear_weight(self._cast(weight).contiguous(), None)
        return made

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.ready(), self._added(), "none", [], ""
        )
        return out


class CastConv2d(_Layer):
    """nn.Conv2d whose weights were cast once."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__(layer, dtype)
        self.stride, self.padding = layer.stride, layer.padding
        self.dilation, self.groups = layer.dilation, layer.groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x.to(self.dtype),
            self.ready(),
            self._added(),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


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

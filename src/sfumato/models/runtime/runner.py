"""How a network is run, chosen in one place: layout, arithmetic, packed weights, compiling, row buckets.

Contract: a runner is called as its network is, with tensors whose first dimension is rows (N, ...). It
answers what the network answers, within the rounding of its arithmetic; rows stay independent of one another.
For networks of ours and of diffusers activations are channels-last. What is fast differs by device:

    CPU, not compiled   weights are packed once into the layout that the processor's convolutions want
                        (packing.py), where plain PyTorch packs them anew in every call
    compiled            torch.compile for static shapes: rows are padded to the next of BUCKETS, so that there
                        are as many graphs as buckets in use; frozen weights on a CPU, CUDA graphs on a GPU
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.models.networks.base import Network
from sfumato.models.runtime.packing import adapted
from sfumato.models.runtime.placement import Placement, compiler_missing

# Rows of a compiled forward pass; above the last one, multiples of BEYOND. At most a third is padding.
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
BEYOND = 16

# "auto" compiles for a run of so many rows (pictures x steps), by device. On a CPU never: packed weights give
# what compiling gives, at once instead of after minutes (docs/log.md). The GPU's number is not measured yet.
PAYS: Mapping[str, int] = {"cuda": 2_000}


@runtime_checkable
class NetworkRunner(Protocol):
    """What runs a network: `Runner`, `CallableRunner`, or `LazyNetwork`, which loads it first.

    device   where the network computes
    dtype    the arithmetic of its convolutions and products
    weights  how many there are; None where that is not known
    """

    device: torch.device
    dtype: torch.dtype
    weights: int | None

    def place(self, placement: Placement) -> None:
        """Run the network there from now on; UsageError where that cannot be, and nothing is changed."""

    def plan_rows(self, rows: int) -> None:  # noqa: ARG002
        """A run of so many rows (pictures x steps) comes: what `compile="auto"` goes by."""
        return

    def unload(self) -> None:
        """Free the memory of a network that can be loaded again; by default it stays."""
        return

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the network answers."""


def runner_of(network: Callable[..., Any], placement: Placement | None) -> NetworkRunner:
    """What runs a network: an object that does it itself, an nn.Module, or any other callable.

    placement: None leaves it where it is, in float32.

    Raises:
        UsageError: it is not callable, or cannot be run there.
    """
    if isinstance(network, type) or not callable(network):
        raise UsageError(f"the network is {network!r:.80}; give an nn.Module or a function of (x, t)")
    if isinstance(network, NetworkRunner):
        if placement is not None:
            network.place(placement)
        return network
    if not isinstance(network, nn.Module):
        return CallableRunner(network, placement or Placement())
    here = next((parameter.device for parameter in network.parameters()), "cpu")
    network.eval().requires_grad_(False)
    return Runner(network, placement or Placement(device=here), as_written=not isinstance(network, Network))


class CallableRunner(NetworkRunner):
    """A function, or another callable that is no nn.Module: it is called as it is, in autocast if at all."""

    def __init__(self, network: Callable[..., Any], placement: Placement) -> None:
        self.network, self.weights = network, None
        self.place(placement)

    def place(self, placement: Placement) -> None:
        if placement.compile == "on" or placement.offload != "no":
            raise UsageError("a network that is no nn.Module is called as it is: leave compile, offload out")
        self.device, self.dtype = torch.device(placement.device), placement.dtype

    def __call__(self, *args: Any, **named: Any) -> Any:
        with _autocast(self.device, self.dtype):
            return self.network(*args, **named)


class Runner(NetworkRunner):
    """A network on a device, in an arithmetic, compiled or packed.

    The network is moved to the device, in place. It stays what it is, in float32, may be saved, and, unless
    it was compiled, changed between two calls; products and convolutions are computed in `dtype`.

    owned       the runner alone has this network: it is held in `dtype` as a whole, and its weights are freed
                as they are packed
    placed      it is on its device already, or somebody else brings it there
    as_written  memory layouts stay as the network makes them, and no layer is replaced: for a network whose
                code may depend on either

    Whether it is compiled or packed is decided at the first call; `plan_rows` says before how long the run
    will be.
    """

    def __init__(
        self,
        network: nn.Module,
        placement: Placement,
        *,
        owned: bool = False,
        placed: bool = False,
        as_written: bool = False,
    ) -> None:
        self.network = network
        self.weights = sum(parameter.numel() for parameter in network.parameters())
        self._owned, self._placed, self._as_written = owned, placed, as_written
        self.place(placement)

    def place(self, placement: Placement) -> None:
        """As `NetworkRunner.place`. Weights and answers stay float32 unless the network is `owned`."""
        if placement.offload != "no" and not self._placed:
            raise UsageError("this network keeps its weights where it computes: leave offload out")
        self.device, self.dtype = torch.device(placement.device), placement.dtype
        self._compile, self._expected = placement.compile, 0
        self._run: nn.Module | None = None
        if not self._placed:
            self.network.to(self.device, self.dtype if self._owned else None)
            if not self._as_written:
                self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def compiled(self) -> bool:
        """Whether this network is compiled, or will be at its first call."""
        if self._compile != "auto":
            return self._compile == "on"
        pays = self._expected >= PAYS.get(self.device.type, math.inf)
        return pays and compiler_missing(self.device) is None

    def plan_rows(self, rows: int) -> None:
        self._expected = max(self._expected, rows)

    def module(self) -> nn.Module:
        """The network as it is run: for those that are called by methods of their own."""
        if self._run is None:
            if self.compiled:
                self._compile = "on"
                self._run = _compiled(self._held(), self.device)
            else:
                self._compile = "off"
                self._run = self.network
                if not self._as_written:
                    self._run = adapted(self.network, self.device, self.dtype, owned=self._owned)
        return self._run

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the network answers: a tensor of N rows, or a tuple of such tensors."""
        run, rows = self.module(), len(args[0])
        more = bucket(rows) - rows if self._compile == "on" else 0

        def ready(x: Tensor) -> Tensor:
            return self._laid_out(padded(x, more) if x.dim() > 0 and len(x) == rows else x)

        args, named = on_tensors(args, ready), on_tensors(named, ready)
        with nullcontext() if self._owned else _autocast(self.device, self.dtype):
            if self._compile == "off":
                return run(*args, **named)
            with _room_for_buckets():
                answer = run(*args, **named)
        copy = self.device.type == "cuda"  # a CUDA graph writes its next answer over this one
        return on_tensors(answer, lambda x: x[:rows].clone() if copy else x[:rows])

    def _held(self) -> nn.Module:
        """The network with its weights in the arithmetic.

        A compiler makes float32 of all that is normalised by weights in float32, and of what it is added to.
        """
        if self._owned or self.dtype is torch.float32:
            return self.network
        return deepcopy(self.network).to(self.dtype)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Pictures channels-last, and, for a network that is held in its dtype, all but times in that."""
        if self._owned and x.is_floating_point() and x.dim() > 1:
            x = x.to(self.dtype)
        if self._as_written:
            return x.contiguous()
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def bucket(rows: int) -> int:
    """The rows of the forward pass that answers `rows` of them: the smallest bucket that holds them."""
    return next((size for size in BUCKETS if size >= rows), math.ceil(rows / BEYOND) * BEYOND)


def padded(x: Tensor, more: int) -> Tensor:
    """Rows with the last one repeated `more` times: (N, ...) -> (N + more, ...)."""
    return torch.cat([x, x[-1:].expand(more, *x.shape[1:])]) if more else x


def on_tensors(value: Any, f: Callable[[Tensor], Tensor]) -> Any:
    """A value with f done to every tensor in it, through tuples, mappings and dataclasses."""
    if isinstance(value, Tensor):
        return f(value)
    if isinstance(value, tuple):
        return tuple(on_tensors(part, f) for part in value)
    if isinstance(value, Mapping):
        return {name: on_tensors(part, f) for name, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{part.name: on_tensors(getattr(value, part.name), f) for part in fields(value)}
        )
    return value


def _autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Products and convolutions in a dtype, for weights in float32."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)


def _compiled(network: nn.Module, device: torch.device) -> nn.Module:
    options: dict[str, Any] = {"triton.cudagraphs": True} if device.type == "cuda" else {"freezing": True}
    return cast(nn.Module, torch.compile(network, dynamic=False, options=options))


def _room_for_buckets() -> AbstractContextManager[Any]:
    """Every bucket is a graph of its own, more than dynamo keeps by itself."""
    return cast(AbstractContextManager[Any], torch._dynamo.config.patch(recompile_limit=2 * len(BUCKETS)))

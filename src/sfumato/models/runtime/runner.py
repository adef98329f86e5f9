"""How a network is run, chosen in one place: layout, arithmetic, packed weights, compiling, row buckets.

Contract: a `Runner` is called as its network is, with tensors whose first dimension is rows (N, ...), and
answers what the network answers, within the rounding of its arithmetic; rows stay independent of one another.
Activations are channels-last. What is fast differs by device:

    CPU, not compiled   weights are packed once into the layout that the processor's convolutions want
                        (packing.py), where plain PyTorch packs them anew in every call
    compiled            torch.compile for static shapes: rows are padded to the next of BUCKETS, so that there
                        are as many graphs as buckets in use; frozen weights on a CPU, CUDA graphs on a GPU
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.models.runtime.packing import adapted

Compile = Literal["auto", "on", "off"]
COMPILES: tuple[str, ...] = get_args(Compile)

# Where the weights of a pretrained model are while a GPU does not need them:
#   no        on the GPU, once they were loaded
#   network   the networks of a model are on the GPU in turn, the others in the CPU's memory
#   layers    every layer comes for its part of a forward pass and goes again: for networks larger than the
#             GPU's memory, at the price of moving all weights in every pass
Offload = Literal["no", "network", "layers"]
OFFLOADS: tuple[str, ...] = get_args(Offload)

# Rows of a compiled forward pass; above the last one, multiples of BEYOND. At most a third is padding.
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
BEYOND = 16

# "auto" compiles for a run of so many rows (pictures x steps), by device. On a CPU never: packed weights give
# what compiling gives, at once instead of after minutes (docs/log.md). The GPU's number is not measured yet.
PAYS: Mapping[str, int] = {"cuda": 2_000}


class Runner:
    """A network on a device, in an arithmetic, by the fastest road that was asked for.

    The network is moved to the device, in place. It stays what it is, in float32, may be saved, and, unless
    it was compiled, changed between two calls; products and convolutions are computed in `dtype`. A network
    that is `given` is the runner's own: it is held in `dtype` as a whole, and its weights are freed as they
    are packed. One that is `placed` is on its device already, or is brought there by who gives it.

    The road is taken at the first call; `expect` tells before how long the journey will be.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        compile: Compile = "auto",
        given: bool = False,
        placed: bool = False,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        check_dtype(self.device, dtype)
        self._compile = check_compile(compile, self.device)
        self._given = given
        if not placed:
            network.to(self.device, dtype if given else None)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self._run: nn.Module | None = None
        self._expected = 0

    @property
    def compiled(self) -> bool:
        """Whether this network is compiled, or will be at its first call."""
        if self._compile != "auto":
            return self._compile == "on"
        pays = self._expected >= PAYS.get(self.device.type, math.inf)
        return pays and compiler_missing(self.device) is None

    def expect(self, rows: int) -> None:
        """A run of so many rows, pictures x steps, is coming: what "auto" goes by, until the first call."""
        self._expected = max(self._expected, rows)

    def module(self) -> nn.Module:
        """The network as it is run: for those that are asked by methods of their own."""
        if self._run is None:
            if self.compiled:
                self._compile = "on"
                self._run = _compiled(self._held(), self.device)
            else:
                self._compile = "off"
                self._run = adapted(self.network, self.device, self.dtype, given=self._given)
        return self._run

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the network answers: a tensor of N rows, or a tuple of such tensors."""
        run, rows = self.module(), len(args[0])
        more = bucket(rows) - rows if self._compile == "on" else 0

        def ready(x: Tensor) -> Tensor:
            return self._laid_out(padded(x, more) if x.dim() > 0 and len(x) == rows else x)

        args, named = on_tensors(args, ready), on_tensors(named, ready)
        with self._arithmetic():
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
        if self._given or self.dtype is torch.float32:
            return self.network
        return deepcopy(self.network).to(self.dtype)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Pictures channels-last, and, for a network that is held in its dtype, all but times in that."""
        if self._given and x.is_floating_point() and x.dim() > 1:
            x = x.to(self.dtype)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self._given or self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def bucket(rows: int) -> int:
    """The rows of the forward pass that answers so many: the smallest bucket that holds them."""
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


def check_dtype(device: torch.device | str, dtype: torch.dtype) -> None:
    """Refuse float16 on a CPU: it overflows into black pictures."""
    if dtype is torch.float16 and torch.device(device).type == "cpu":
        raise UsageError("float16 on a CPU overflows and is slow: use float32 or bfloat16")


def computes_in(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has instructions for a dtype; elsewhere it is emulated, a hundred times slower."""
    if dtype is torch.float32:
        return True
    if device.type == "cuda":
        return dtype is torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and dtype is torch.bfloat16:
        probe = getattr(torch.cpu, "get_capabilities", None)  # not in every torch that is supported
        capabilities = probe() if probe is not None else {}
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def check_compile(choice: str, device: torch.device) -> Compile:
    """The choice, if it is one and can be had; UsageError says why not."""
    if choice not in COMPILES:
        raise UsageError(f"compile is {choice!r}; there are {', '.join(COMPILES)}")
    if choice == "on" and (missing := compiler_missing(device)) is not None:
        raise UsageError(f"compile on: {missing}; use auto or off")
    return cast(Compile, choice)


def check_offload(choice: str, device: torch.device, compile: Compile) -> Offload:
    """The choice, if it is one and has an effect; UsageError says why not."""
    if choice not in OFFLOADS:
        raise UsageError(f"offload is {choice!r}; there are {', '.join(OFFLOADS)}")
    if choice != "no" and device.type == "cpu":
        raise UsageError(
            f"offload {choice} moves weights between a GPU and the CPU's memory: on a CPU leave it out"
        )
    if choice == "layers" and compile == "on":
        raise UsageError("offload layers does not go with compile on: moving weights cannot be compiled")
    return cast(Offload, choice)


def compiler_missing(device: torch.device) -> str | None:
    """Why nothing can be compiled for a device; None where it can."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "torch.compile needs triton for this GPU"
    if device.type != "cpu":
        return f"torch.compile is not used on {device.type}"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "there is no C++ compiler, which torch.compile needs for a CPU"
    return None


def _compiled(network: nn.Module, device: torch.device) -> nn.Module:
    options: dict[str, Any] = {"triton.cudagraphs": True} if device.type == "cuda" else {"freezing": True}
    return cast(nn.Module, torch.compile(network, dynamic=False, options=options))


def _room_for_buckets() -> AbstractContextManager[Any]:
    """Every bucket is a graph of its own, more than dynamo keeps by itself."""
    return cast(AbstractContextManager[Any], torch._dynamo.config.patch(recompile_limit=2 * len(BUCKETS)))

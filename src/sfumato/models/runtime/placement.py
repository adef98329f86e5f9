"""Where and in what a network computes, and whether it is compiled: one value, checked when it is made."""

import importlib.util
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from sfumato.errors import UsageError

Compile = Literal["auto", "on", "off"]
COMPILES: tuple[str, ...] = get_args(Compile)

# Where the weights of a pretrained model are while a GPU does not need them:
#   no        on the GPU, once they were loaded
#   network   the networks of a model are on the GPU in turn, the others in the CPU's memory
#   layers    every layer comes for its part of a forward pass and goes again: for networks larger than the
#             GPU's memory, at the price of moving all weights in every pass
Offload = Literal["no", "network", "layers"]
OFFLOADS: tuple[str, ...] = get_args(Offload)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how a network is run.

    device   a device or its name
    dtype    of convolutions and products
    compile  whether torch.compile makes the network faster, after a minute or two; "auto" compiles long runs
             on a GPU
    offload  where the weights of a pretrained model wait while a GPU does not need them

    Raises:
        UsageError: float16 on a CPU, which overflows; offloading or compiling that has no effect there.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    compile: Compile = "auto"
    offload: Offload = "no"

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", torch.device(self.device))
        kind = torch.device(self.device).type
        if self.dtype is torch.float16 and kind == "cpu":
            raise UsageError("float16 on a CPU overflows and is slow: use float32 or bfloat16")
        if self.compile not in COMPILES:
            raise UsageError(f"compile is {self.compile!r}; there are {', '.join(COMPILES)}")
        if self.offload not in OFFLOADS:
            raise UsageError(f"offload is {self.offload!r}; there are {', '.join(OFFLOADS)}")
        if self.offload != "no" and kind == "cpu":
            raise UsageError(
                f"offload {self.offload} moves weights between a GPU and the CPU's memory: "
                "on a CPU leave it out"
            )
        if self.offload == "layers" and self.compile == "on":
            raise UsageError("offload layers does not go with compile on: moving weights cannot be compiled")
        if self.compile == "on" and (missing := compiler_missing(torch.device(self.device))) is not None:
            raise UsageError(f"compile on: {missing}; use auto or off")


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

"""Device and precision of a training, resolved in one place."""

from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from sfumato.errors import UsageError
from sfumato.models.runtime.runner import computes_in

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "no", "bf16"]


def make_accelerator(device: Device, precision: Precision) -> Accelerator:
    """One process, or this process's part of an `accelerate launch`.

    "auto" precision is bf16 where the hardware computes in it, else float32; weights stay float32 either way.

    Raises:
        UsageError: a device or precision that is unknown or that this machine does not have.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UsageError(f"unknown device {device!r}; there are auto, cpu, cuda, mps")
    if precision not in ("auto", "no", "bf16"):
        raise UsageError(f"unknown precision {precision!r}; there are auto, no, bf16")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device here; use device cpu or auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no Metal device here; use device cpu or auto")
    on_cpu = device == "cpu" or (device == "auto" and not _has_accelerator())
    kind = "cpu" if on_cpu else "cuda" if torch.cuda.is_available() else "mps"
    if precision == "bf16" and kind == "cuda" and not computes_in(torch.device(kind), torch.bfloat16):
        raise UsageError("this CUDA device does not compute in bf16; use precision no or auto")
    chosen = (
        "bf16"
        if precision == "bf16" or (precision == "auto" and computes_in(torch.device(kind), torch.bfloat16))
        else "no"
    )
    AcceleratorState._reset_state()  # else a second training in this process would keep the first's precision
    return Accelerator(cpu=on_cpu, mixed_precision=chosen)


def _has_accelerator() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()

"""The device and the precision of a training."""

from typing import Literal, get_args

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from sfumato.errors import UsageError
from sfumato.models.runtime.placement import computes_in

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "no", "bf16"]


def make_accelerator(device: Device, precision: Precision) -> Accelerator:
    """The accelerator of this process, which may be one of an `accelerate launch`.

    Precision "auto" is bf16 where the hardware computes in it, else float32. Weights are float32 in both.

    Raises:
        UsageError: the device or precision is unknown, or this machine does not have it.
    """
    for what, given, known in (("device", device, Device), ("precision", precision, Precision)):
        if given not in get_args(known):
            raise UsageError(f"unknown {what} {given!r}; there are {', '.join(get_args(known))}")
    cuda, metal = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "cuda" and not cuda:
        raise UsageError("no CUDA device here; use device cpu or auto")
    if device == "mps" and not metal:
        raise UsageError("no Metal device here; use device cpu or auto")
    on_cpu = device == "cpu" or not (cuda or metal)
    kind = "cpu" if on_cpu else "cuda" if cuda else "mps"
    has_bf16 = computes_in(torch.device(kind), torch.bfloat16)
    if precision == "bf16" and kind == "cuda" and not has_bf16:
        raise UsageError("this CUDA device does not compute in bf16; use precision no or auto")
    bf16 = precision == "bf16" or (precision == "auto" and has_bf16)
    AcceleratorState._reset_state()  # else a second training in this process would keep the first's precision
    return Accelerator(cpu=on_cpu, mixed_precision="bf16" if bf16 else "no")

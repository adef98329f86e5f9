"""Where and in what the network computes: names to torch, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfumato.apps.cli.progress import note
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sfumato.apps.cli.options import Loading
    from sfumato.models.cascade import Cascade
    from sfumato.models.model import Model


def find_device(name: str) -> torch.device:
    """The device of this name; auto is CUDA, else Metal, else the CPU.

    Raises:
        UsageError: this machine has none.
    """
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in here.items() if there)
    if not here[name]:
        raise UsageError(f"there is no {name} device here: use --device cpu or auto")
    return torch.device(name)


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The arithmetic of this name; auto is float32, which gives the same pictures everywhere.

    bfloat16 would be nearly twice as fast where a processor computes in it, but its pictures differ by more
    than one grey level (docs/log.md): it is never chosen unasked.

    Raises:
        UsageError: float16 on a CPU.
    """
    import torch

    if name == "float16" and device.type == "cpu":
        raise UsageError("float16 on a CPU overflows and is slow: use --dtype float32")
    dtypes = {
        "auto": torch.float32,
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    return dtypes[name]


def load_on(name: str, machine: Loading, *, stated: str = "auto") -> Model:
    """A model by its name or folder, on the device and in the arithmetic that were asked for.

    stated: the arithmetic that a recipe states, for which "auto" stands.
    """
    from sfumato.models.files.registry import load

    return load(name, **_asked(machine, stated))


def load_cascade_on(
    name: str, stages: Sequence[str], machine: Loading, *, upscale: int | None = None, stated: str = "auto"
) -> Cascade:
    """A model and the stages that make its pictures larger, one of them in memory at a time."""
    from sfumato.models.files.registry import load_cascade

    return load_cascade(name, *stages, upscale=upscale, one_at_a_time=True, **_asked(machine, stated))


def _asked(machine: Loading, stated: str) -> dict[str, Any]:
    """What the registry is told of the machine."""
    device = find_device(machine.device)
    dtype = find_dtype(stated if machine.dtype == "auto" else machine.dtype, device)
    from sfumato.models.runtime.runner import computes_in

    if device.type == "cpu" and not computes_in(device, dtype):
        note("this processor emulates bfloat16, slowly: --dtype float32 makes nearly the same pictures")
    return {
        "device": device,
        "dtype": dtype,
        "compile": machine.compile,
        "offload": machine.offload,
        "offline": machine.offline,
        "embeddings": machine.embeddings or (),
    }

"""Where and in which arithmetic a network computes: from the words of the options to torch, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfumato.apps.cli.inputs import check_inputs
from sfumato.apps.cli.progress import note
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sfumato.apps.cli.options import Loading
    from sfumato.models.cascade import Cascade, Stages
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
        raise UsageError(f"--device {name}: this machine has none; use --device cpu or auto")
    return torch.device(name)


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The arithmetic of this name; auto is float32, which gives the same pictures everywhere.

    bfloat16 would be nearly twice as fast where a processor computes in it, but its pictures differ by more
    than one grey level (docs/log.md): only --dtype chooses it.

    Raises:
        UsageError: float16 on a CPU.
    """
    import torch

    if name == "float16" and device.type == "cpu":
        raise UsageError("--dtype float16 overflows on a CPU and is slow there: use --dtype float32")
    dtype: torch.dtype = getattr(torch, "float32" if name == "auto" else name)
    return dtype


def placement(machine: Loading, stated: str = "auto") -> dict[str, Any]:
    """Where and how a network is run: device, dtype, compile, offload.

    stated: the arithmetic of a recipe, for which --dtype auto stands.

    Raises:
        UsageError: this machine has no such device, or the device does not compute in the arithmetic.
    """
    from sfumato.models.runtime.placement import computes_in

    device = find_device(machine.device)
    dtype = find_dtype(stated if machine.dtype == "auto" else machine.dtype, device)
    if device.type == "cpu" and not computes_in(device, dtype):
        note("this processor emulates bfloat16, slowly: --dtype float32 makes nearly the same pictures")
    return {"device": device, "dtype": dtype, "compile": machine.compile, "offload": machine.offload}


def _loading(models: Sequence[str], machine: Loading, stated: str) -> dict[str, Any]:
    """How `load` and `load_cascade` load: the placement, and where weights and encoded prompts come from.

    What can be checked without torch is checked first: the names of the models, and that files are there.
    """
    from sfumato.models.files.registry import check_name

    for name in models:
        check_name(name)
    check_inputs(*machine.embeddings or ())
    sources = {"offline": machine.offline, "embeddings": machine.embeddings or ()}
    return {**placement(machine, stated), **sources}


def load_on(name: str, machine: Loading, *, stated: str = "auto") -> Model:
    """A model by its name or folder, placed as the options say. stated: see `placement`."""
    from sfumato.models.files.registry import load

    return load(name, **_loading([name], machine, stated))


def load_whole_on(name: str, machine: Loading, *, stated: str = "auto") -> Stages:
    """A model by its name or folder, with the stage that ships with it. stated: see `placement`."""
    from sfumato.models.files.registry import load_whole

    return load_whole(name, **_loading([name], machine, stated))


def load_cascade_on(
    name: str, stages: Sequence[str], machine: Loading, *, upscale: int | None = None, stated: str = "auto"
) -> Cascade:
    """A model and the stages that make its pictures larger, one of them in memory at a time."""
    from sfumato.models.files.registry import load_cascade

    options = _loading([name, *stages], machine, stated)
    return load_cascade(name, *stages, upscale=upscale, one_at_a_time=True, **options)

"""Models of our own as folders: written whole, read when every byte of them is what it should be."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch.overrides import TorchFunctionMode

from sfumato.core.prediction import Prediction
from sfumato.core.schedule import Flow, schedule_from_dict
from sfumato.errors import SfumatoError, UsageError, first_line
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.bounds import check_sizes
from sfumato.models.files.store import (
    DESCRIPTION,
    read_description,
    read_folder,
    read_shapes_of,
    write_folder,
)
from sfumato.models.low_resolution import EnlargedPicture
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.models.networks.names import build_network
from sfumato.models.networks.text_to_image import PromptedUNet
from sfumato.models.networks.upscaling import UpscalingUNet
from sfumato.models.runtime.placement import Placement
from sfumato.models.text_to_image import TextConditioner

FORMAT = 1
SIZING = ("network", "schedule", "shape", "defaults", "class_names")  # what numbers in them size something


def build_model(network: Network, *, class_names: Sequence[str] = (), **parts: Any) -> Model:
    """The model of a network of ours, with what its kind needs beside it; `parts` as `Model`."""
    if isinstance(network, PromptedUNet):
        return Model(network, conditioner=TextConditioner(network.styles), **parts)
    if isinstance(network, UpscalingUNet):
        shown = EnlargedPicture(
            schedule=Flow(), t=network.low_t, state_shape=tuple(parts["shape"]), any_size=True
        )
        return Model(network, low_resolution=shown, **parts)
    return Model(network, classes=class_names or None, **parts)


def save_model(model: Model, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Publish a model as `folder`, whole or not at all; the weights are stored as `dtype`.

    Raises:
        UsageError: its network is none of `networks.NETWORKS`.
        SfumatoError: the folder cannot be written.
    """
    write_folder(folder, describe(model), own_network(model).state_dict(), dtype=dtype)


def own_network(model: Model) -> Network:
    """The network of a model that is saved by its kind and configuration; else UsageError."""
    if not isinstance(model.network, Network):
        raise UsageError(
            f"{model.name} cannot be saved: its network is none of sfumato's own kinds (a pretrained one "
            "stays in its folder)"
        )
    return model.network


def describe(model: Model) -> dict[str, Any]:
    """What `model.json` says of a model, its weights left out."""
    network = own_network(model)
    return {
        "format": FORMAT,
        "name": model.name,
        "network": {"kind": network.kind, "config": network.config()},
        "schedule": model.schedule.to_dict(),
        "prediction": model.prediction,
        "shape": list(model.shape),
        "class_names": list(model.class_names),
        "defaults": asdict(model.defaults),
        "provenance": model.provenance,
    }


def load_model(folder: Path, *, name: str | None = None, placement: Placement | None = None) -> Model:
    """The model of a folder, its weights verified; `name` is what recipes call it, by default its own name.

    placement: None is the CPU, in float32.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is damaged, or of a format that this version does not read.
    """
    description = read_description(folder)
    if description.get("format") != FORMAT:
        raise SfumatoError(
            f"{folder / DESCRIPTION} has format {description.get('format')!r}; this version reads {FORMAT}"
        )
    _check_description(folder, description)
    _, tensors = read_folder(folder)
    try:
        network = build_network(description["network"]["kind"], description["network"]["config"])
        network.load_state_dict(tensors)
        channels, height, width = description["shape"]
        model = build_model(
            network,
            name=name or description["name"],
            schedule=schedule_from_dict(description["schedule"]),
            prediction=cast(Prediction, description["prediction"]),
            shape=(channels, height, width),
            defaults=SamplingDefaults(**description["defaults"]),
            class_names=description["class_names"],
            provenance=description["provenance"],
            sha256=description["weights"]["sha256"],
        )
    except Exception as error:
        raise _no_model(folder, error) from error
    return model if placement is None else model.place(placement)


def _check_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Refuse a description that lies, before its weights are read and memory is taken for its network."""
    path = folder / DESCRIPTION
    check_sizes(path, {part: description.get(part) for part in SIZING})
    shapes = read_shapes_of(folder, description)
    try:
        with torch.device("meta"), _Uninitialised():  # where sizes cost nothing
            network = build_network(description["network"]["kind"], description["network"]["config"])
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    except Exception as error:
        raise _no_model(folder, error) from error
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise SfumatoError(
                f"{path} does not describe a model: {name} is {expected.get(name, 'missing')} by it, "
                f"and {shapes.get(name, 'missing')} in the files"
            )


class _Uninitialised(TorchFunctionMode):
    """Networks get no first weights, which would cost time, and nothing is computed on the meta device.

    The first computation there makes torch load its compiler, some 100 MB; frequencies come from `linspace`.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        if func is torch.linspace:
            given = {"device": "cpu", **given}
        return func(*args, **given)


def _no_model(folder: Path, error: Exception) -> SfumatoError:
    """Of a description that is wrong; what a network makes of one may be an error of any type."""
    return SfumatoError(f"{folder / DESCRIPTION} does not describe a model: {first_line(error)}")

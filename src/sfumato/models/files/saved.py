"""Models of our own as folders: written whole, read when every byte of them is what it should be."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from sfumato.core.prediction import Prediction
from sfumato.core.schedule import schedule_from_dict
from sfumato.errors import SfumatoError
from sfumato.models.files.store import DESCRIPTION, read_folder, write_folder
from sfumato.models.model import Model, SamplingDefaults
from sfumato.models.networks.base import Network
from sfumato.models.networks.names import build_network
from sfumato.models.networks.text_to_image import PromptedUNet
from sfumato.models.text_to_image import PromptedModel

FORMAT = 1


def model_of(network: Network, **facts: Any) -> Model:
    """The model of a network of ours: one that is asked with words has a text encoder in front."""
    kind = PromptedModel if isinstance(network, PromptedUNet) else Model
    return kind(network=network, **facts)


def save_model(model: Model, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Publish a model as `folder`, whole or not at all; the weights are stored as `dtype`.

    Raises:
        SfumatoError: the folder cannot be written.
    """
    write_folder(folder, describe(model), model.network.state_dict(), dtype=dtype)


def describe(model: Model) -> dict[str, Any]:
    """What `model.json` says of a model, its weights left out."""
    return {
        "format": FORMAT,
        "name": model.name,
        "network": {"kind": model.network.kind, "config": model.network.config()},
        "schedule": model.schedule.to_dict(),
        "prediction": model.prediction,
        "shape": list(model.shape),
        "class_names": list(model.class_names),
        "defaults": asdict(model.defaults),
        "provenance": model.provenance,
    }


def load_model(
    folder: Path,
    *,
    name: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """The model of a folder, its weights verified; `name` is what recipes call it, by default its own name.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is damaged, or of a format that this version does not read.
    """
    description, tensors = read_folder(folder)
    if description.get("format") != FORMAT:
        raise SfumatoError(
            f"{folder / DESCRIPTION} has format {description.get('format')!r}; this version reads {FORMAT}"
        )
    try:
        network = build_network(description["network"]["kind"], description["network"]["config"])
        network.load_state_dict(tensors)
        channels, height, width = description["shape"]
        model = model_of(
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
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
    ) as error:  # a UsageError is a ValueError
        reason = str(error).splitlines()[0]
        raise SfumatoError(f"{folder / DESCRIPTION} does not describe a model: {reason}") from error
    return model.to(device, dtype)

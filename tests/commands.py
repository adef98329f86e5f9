"""`sfumato` run in one process (the fixtures are in conftest.py), and small models for it."""

from collections.abc import Callable
from pathlib import Path

import torch

from sfumato.core.schedule import FixedSigma, Flow
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.saved import build_model, save_model
from sfumato.models.model import Model
from sfumato.models.networks.names import build_network

Run = Callable[..., tuple[int, str, str]]  # words of a command -> exit code, stdout, stderr


def asked_model(steps: int) -> Model:
    """A small model with random weights that is asked with words."""
    torch.manual_seed(0)
    network = build_network("prompted", {"side": 16, "widths": (16, 32, 32), "blocks": (1, 1, 1)})
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return build_model(
        network,
        name="asked",
        schedule=Flow(),
        prediction="flow",
        shape=(3, 16, 16),
        defaults=SamplingDefaults(steps=steps, guidance=2.0),
    )


def write_models(folder: Path) -> Path:
    """Small models with random weights: `digits` knows classes, `denoiser` one level, `asked` words."""
    torch.manual_seed(0)
    network = build_network("residual", {"width": 16, "deep": 32, "middle": 1, "classes": 10})
    for parameter in network.parameters():  # the new network is the zero function
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    digits = Model(
        network,
        name="digits",
        schedule=Flow(),
        prediction="flow",
        shape=(1, 28, 28),
        defaults=SamplingDefaults(steps=4, guidance=2.0),
        classes=10,
    )
    denoiser = Model(
        build_network("classic", {"hidden": 4, "timed": False}),
        name="denoiser",
        schedule=FixedSigma(1.0),
        prediction="x0",
        shape=(1, 28, 28),
        defaults=SamplingDefaults(steps=4),
    )
    save_model(digits, folder / "digits")
    save_model(denoiser, folder / "denoiser")
    save_model(asked_model(steps=2), folder / "asked")
    return folder


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}

"""Unconditional and class-conditional UNets: the ddpm-* family (diffusers' UNet2DModel)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sfumato.core.schedule import BetaTable
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.models.pretrained.loading import Folder, load_network
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of

STEPS = {"ddpm": 1000}  # as DDPMPipeline has it
OTHER_STEPS = 50  #       as DDIMPipeline has it


class DiffusersNetwork(Network):
    """A network of diffusers: it counts time in integer timesteps, n = t T - 1."""

    kind = "diffusers"
    timed = True

    def __init__(self, inner: nn.Module, timesteps: int, classes: int | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.timesteps = timesteps
        self.classes = classes

    def config(self) -> dict[str, Any]:
        raise UsageError("a pretrained network is kept in the folder that it came in, not saved anew")

    def forward(self, x: Tensor, t: Tensor | None, label: Tensor) -> Tensor:
        assert t is not None
        known = {} if self.classes is None else {"class_labels": label}
        if known and bool((label < 0).any()):
            raise UsageError("this network was trained with classes alone: ask for a class, guidance 1")
        answer: Tensor = self.inner(x, self.timesteps_of(t), return_dict=False, **known)[0]
        return answer

    def timesteps_of(self, t: Tensor) -> Tensor:
        """Integer timesteps of times, n = t T - 1, (N,) float; between two entries as fractions."""
        n = t.double() * self.timesteps - 1
        whole = n.round()
        return torch.where((n - whole).abs() < 1e-3, whole, n).clamp(min=0).float()


def load_unet2d(folder: Folder, *, name: str, device: torch.device | str, dtype: torch.dtype) -> Model:
    """A model of a DDPMPipeline or DDIMPipeline folder.

    Raises:
        ModelUnavailableError, SfumatoError: as `load_network`.
    """
    scheduler = read_scheduler(folder.at("scheduler"))
    config = folder.config("unet")
    size = config.get("sample_size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    channels, out = config.get("in_channels"), config.get("out_channels")
    shape = tuple(n for n in (channels, height, width) if isinstance(n, int) and n > 0)
    if len(shape) != 3 or channels != out:
        raise SfumatoError(
            f"{folder.at('unet')}: sample_size {size}, {channels} channels in and {out} out make no picture"
        )
    if config.get("class_embed_type") is not None:
        raise SfumatoError(
            f"{folder.at('unet')}: class_embed_type {config['class_embed_type']!r:.40} is told more than a "
            "class, which no expression says"
        )
    classes = config.get("num_class_embeds")
    schedule: BetaTable = schedule_of(scheduler)
    defaults = defaults_of(scheduler, steps=OTHER_STEPS)
    if defaults.solver in STEPS:
        defaults = defaults_of(scheduler, steps=min(schedule.timesteps, STEPS[defaults.solver]))
    network = load_network(folder, "unet", device=device, dtype=torch.float32)
    model = Model(
        name=name,
        network=DiffusersNetwork(network, schedule.timesteps, classes),
        schedule=schedule,
        prediction=prediction_of(scheduler),
        shape=shape,
        defaults=defaults,
        class_names=[str(i) for i in range(classes or 0)],
        sha256=weights_digest(folder.at("unet")),
    )
    return model.to(device, dtype)

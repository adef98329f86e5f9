"""Unconditional and class-conditional UNets: the ddpm-* family (diffusers' UNet2DModel)."""

from typing import cast

import torch
from torch import Tensor, nn

from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model
from sfumato.models.pretrained.loading import Folder, load_network
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of
from sfumato.models.runtime.placement import Placement
from sfumato.models.runtime.runner import Runner

STEPS = {"ddpm": 1000}  # as DDPMPipeline has it
OTHER_STEPS = 50  #       as DDIMPipeline has it


class TimestepUNet(nn.Module):
    """A UNet2DModel, called with times in [0, 1]."""

    def __init__(self, inner: nn.Module, timesteps: int) -> None:
        super().__init__()
        self.inner, self.timesteps = inner, timesteps

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), t (N,), label (N,) int64, if it knows classes -> (N, C, H, W)."""
        if label is not None and bool((label < 0).any()):
            raise UsageError("this network was trained with classes alone: give a class, guidance 1")
        answer = self.inner(x, timesteps_of(t, self.timesteps), class_labels=label, return_dict=False)
        return cast(Tensor, answer[0])


def timesteps_of(t: Tensor, timesteps: int) -> Tensor:
    """Integer timesteps of times, n = t T - 1, (N,) float; between two entries as fractions."""
    n = t.double() * timesteps - 1
    whole = n.round()
    return torch.where((n - whole).abs() < 1e-3, whole, n).clamp(min=0).float()


def load_unet2d(folder: Folder, *, name: str, placement: Placement) -> Model:
    """A model of a DDPMPipeline or DDIMPipeline folder; errors are those of `load_network`."""
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
            f"{folder.at('unet')}: class_embed_type {config['class_embed_type']!r:.40} takes more than a "
            "class, which no expression says"
        )
    schedule = schedule_of(scheduler)
    defaults = defaults_of(scheduler, steps=OTHER_STEPS)
    if defaults.solver in STEPS:
        defaults = defaults_of(scheduler, steps=min(schedule.timesteps, STEPS[defaults.solver]))
    network = load_network(folder, "unet", device=placement.device, dtype=torch.float32)
    return Model(
        Runner(TimestepUNet(network, schedule.timesteps).eval(), placement),
        name=name,
        schedule=schedule,
        prediction=prediction_of(scheduler),
        shape=shape,
        classes=config.get("num_class_embeds"),
        defaults=defaults,
        sha256=weights_digest(folder.at("unet")),
    )

"""Our own models as folders by diffusers' conventions, and the class that diffusers loads them as.

    OUT/model_index.json                                  DDPMPipeline, and where its parts are from
    OUT/scheduler/scheduler_config.json                   the schedule, as diffusers has it
    OUT/unet/config.json                                  ExportedUNet and its arguments
    OUT/unet/diffusion_pytorch_model.safetensors          the weights
    OUT/model.json                                        so that sfumato loads the same folder

diffusers has no network of these kinds among its own, so the class is here. It imports no module because a
folder names it: import this one first, then

    import sfumato.models.files.export
    pipe = diffusers.DiffusionPipeline.from_pretrained("OUT")
    pipe(num_inference_steps=50)                          # without a condition: DDPMPipeline knows none
    pipe.unet(x, n, class_labels=labels).sample           # with one, in a loop of your own
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.core.schedule import BetaTable, Flow, Schedule
from sfumato.errors import UsageError
from sfumato.models.files.saved import describe
from sfumato.models.files.store import publish_folder, write_description
from sfumato.models.model import Model
from sfumato.models.networks.names import build_network
from sfumato.models.pretrained.loading import import_library
from sfumato.models.pretrained.schedulers import PREDICTIONS, SPACINGS, TABLES, VARIANCES

_diffusers: Any = import_library("diffusers")
ConfigMixin, ModelMixin = _diffusers.ConfigMixin, _diffusers.ModelMixin  # looked for in this module
register_to_config: Any = import_library("diffusers.configuration_utils").register_to_config

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
PREFIX = "network."  # of the names of weights there
FLOW_TIMESTEPS = 1000


@dataclass
class Answer:
    """What diffusers' pipelines expect of a UNet."""

    sample: Tensor


class ExportedUNet(ModelMixin, ConfigMixin):  # type: ignore[misc, valid-type]
    """A network of `networks.NETWORKS` that diffusers' pipelines and schedulers can ask.

    kind, arguments: what it is built from. timesteps, offset: timestep n of the scheduler is the time
    t = (n + offset) / timesteps. The other arguments say what pipelines look for.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        kind: str,
        arguments: dict[str, Any],
        timesteps: int,
        offset: int,
        in_channels: int,  # noqa: ARG002
        out_channels: int,  # noqa: ARG002
        sample_size: int | list[int],  # noqa: ARG002
        num_class_embeds: int | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.network = build_network(kind, arguments)
        self.timesteps, self.offset = timesteps, offset

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> Answer | tuple[Tensor]:
        """sample (N, C, H, W), timestep a number or (N,), labels (N,) or none -> the prediction."""
        n = torch.as_tensor(timestep, device=sample.device).float().expand(len(sample))
        t = (n + self.offset) / self.timesteps
        none = torch.full((len(sample),), -1, device=sample.device)
        labels = none if class_labels is None else class_labels.to(sample.device)
        answer: Tensor = self.network(sample, t.to(sample.dtype), labels)
        return Answer(answer) if return_dict else (answer,)


def export(model: Model, folder: Path) -> Path:
    """Publish a model that was trained here as a folder for diffusers, whole or not at all.

    Raises:
        UsageError: diffusers could not ask it, with the reason.
        SfumatoError: the folder cannot be written.
    """
    scheduler, timesteps, offset = _scheduler(model)
    channels, height, width = model.shape
    unet = ExportedUNet(
        kind=model.network.kind,
        arguments=model.network.config(),
        timesteps=timesteps,
        offset=offset,
        in_channels=channels,
        out_channels=channels,
        sample_size=height if height == width else [height, width],
        num_class_embeds=model.classes,
    )
    unet.network.load_state_dict(model.network.state_dict())
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": _diffusers.__version__,
        "scheduler": ["diffusers", type(scheduler).__name__],
        "unet": [__name__, type(unet).__name__],
    }

    def write(place: Path) -> None:
        unet.save_pretrained(place / "unet")
        scheduler.save_pretrained(place / "scheduler")
        write_description(place / "model_index.json", index)
        content = (place / WEIGHTS).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        weights = {"file": WEIGHTS, "sha256": sha256, "bytes": len(content), "prefix": PREFIX}
        write_description(place / "model.json", describe(model) | {"weights": weights})

    publish_folder(folder, write)
    return folder


def _scheduler(model: Model) -> tuple[Any, int, int]:
    """The scheduler of diffusers that means a model's schedule; timesteps and offset of ExportedUNet."""
    if type(model) is not Model or not model.network.timed:
        raise UsageError(
            f"{model.name} cannot be exported: diffusers' pipelines ask UNets that are told a timestep, "
            "and classes at most"
        )
    schedule, defaults = model.schedule, model.defaults
    if isinstance(schedule, Flow) and model.prediction == "flow":
        return (
            _diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=FLOW_TIMESTEPS),
            FLOW_TIMESTEPS,
            0,
        )
    if not isinstance(schedule, BetaTable) or model.prediction not in PREDICTIONS.values():
        raise UsageError(
            f"{model.name} cannot be exported: no scheduler of diffusers is {_words(schedule)} with "
            f"{model.prediction} predictions"
        )
    betas = (
        {}
        if schedule.kind == "squared_cosine"
        else {"beta_start": schedule.beta_start, "beta_end": schedule.beta_end}
    )
    scheduler = _diffusers.DDPMScheduler(
        num_train_timesteps=schedule.timesteps,
        beta_schedule=_backwards(TABLES)[schedule.kind],
        prediction_type=_backwards(PREDICTIONS)[model.prediction],
        clip_sample=defaults.clip,
        clip_sample_range=defaults.limit,
        variance_type=_backwards(VARIANCES).get(str(defaults.options.get("variance")), "fixed_small"),
        timestep_spacing=_backwards(SPACINGS).get(defaults.spacing, "trailing"),
        **betas,
    )
    return scheduler, schedule.timesteps, 1


def _words(schedule: Schedule) -> str:
    return f"a {schedule.to_dict()['kind']} schedule"


def _backwards(names: dict[str, str]) -> dict[str, str]:
    """Ours to theirs; where several are one, the first."""
    return {ours: theirs for theirs, ours in reversed(names.items())}

"""Our own models as folders by diffusers' conventions, and the class that diffusers loads them as.

    OUT/model_index.json                                  DDPMPipeline, and where its parts are from
    OUT/scheduler/scheduler_config.json                   the schedule, as diffusers has it
    OUT/unet/config.json                                  ExportedUNet and its arguments
    OUT/unet/diffusion_pytorch_model.safetensors          the weights
    OUT/model.json                                        so that sfumato loads the same folder

diffusers has no network of these kinds among its own, so the class is here. diffusers imports no module
because a folder names it: import this one first, then

    import sfumato.models.files.export
    pipe = diffusers.DiffusionPipeline.from_pretrained("OUT")
    pipe(num_inference_steps=50)                          # without a condition: DDPMPipeline knows none
    pipe.unet(x, n, class_labels=labels).sample           # with one, in a loop of your own
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.core.schedule import BetaTable, Flow
from sfumato.errors import UsageError
from sfumato.models.conditioning import LabelConditioner
from sfumato.models.files.saved import describe, own_network
from sfumato.models.files.store import file_entry, publish_folder, write_description
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.models.networks.names import build_network
from sfumato.models.pretrained.loading import import_library
from sfumato.models.pretrained.schedulers import PREDICTIONS, SPACINGS, TABLES, VARIANCES

_diffusers: Any = import_library("diffusers")
# diffusers looks for these two in this module
ConfigMixin, ModelMixin = _diffusers.ConfigMixin, _diffusers.ModelMixin
UNet2DOutput: Any = import_library("diffusers.models.unets.unet_2d").UNet2DOutput
register_to_config: Any = import_library("diffusers.configuration_utils").register_to_config

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
PREFIX = "network."  # of the names of weights there
FLOW_TIMESTEPS = 1000


class ExportedUNet(ModelMixin, ConfigMixin):  # type: ignore[misc, valid-type]
    """A network of `networks.NETWORKS` for diffusers' pipelines and schedulers.

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
    ) -> Any:
        """sample (N, C, H, W), timestep a number or (N,), labels (N,) or none -> the prediction."""
        n = torch.as_tensor(timestep, device=sample.device).float().expand(len(sample))
        t = (n + self.offset) / self.timesteps
        labels = None if class_labels is None else class_labels.to(sample.device)
        answer = self.network(sample, t.to(sample.dtype), labels)
        return UNet2DOutput(sample=answer) if return_dict else (answer,)


def export(model: Model, folder: Path) -> Path:
    """Publish a model that was trained here as a folder for diffusers, whole or not at all.

    Raises:
        UsageError: diffusers could not run it, with the reason.
        SfumatoError: the folder cannot be written.
    """
    scheduler, timesteps, offset = _scheduler(model)
    channels, height, width = model.shape
    network = own_network(model)
    unet = ExportedUNet(
        kind=network.kind,
        arguments=network.config(),
        timesteps=timesteps,
        offset=offset,
        in_channels=channels,
        out_channels=channels,
        sample_size=height if height == width else [height, width],
        num_class_embeds=len(model.class_names) or None,
    )
    unet.network.load_state_dict(network.state_dict())
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
        weights = file_entry(WEIGHTS, (place / WEIGHTS).read_bytes()) | {"prefix": PREFIX}
        write_description(place / "model.json", describe(model) | {"weights": weights})

    publish_folder(folder, write)
    return folder


def _scheduler(model: Model) -> tuple[Any, int, int]:
    """The scheduler of diffusers that means a model's schedule; timesteps and offset of ExportedUNet."""
    network, conditioner = model.network, model.conditioner
    known = conditioner is None or isinstance(conditioner, LabelConditioner)
    if not (isinstance(network, Network) and network.timed and known and model.of_pixels):
        raise UsageError(
            f"{model.name} cannot be exported: diffusers' pipelines take UNets of ours with a timestep, and "
            "with classes at most"
        )
    schedule, defaults = model.schedule, model.defaults
    if isinstance(schedule, Flow) and model.prediction == "flow":
        scheduler = _diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=FLOW_TIMESTEPS)
        return scheduler, FLOW_TIMESTEPS, 0
    if not isinstance(schedule, BetaTable) or model.prediction not in PREDICTIONS.values():
        raise UsageError(
            f"{model.name} cannot be exported: no scheduler of diffusers is a "
            f"{schedule.to_dict()['kind']} schedule with {model.prediction} predictions"
        )
    betas = {}
    if schedule.kind != "squared_cosine":
        betas = {"beta_start": schedule.beta_start, "beta_end": schedule.beta_end}
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


def _backwards(names: dict[str, str]) -> dict[str, str]:
    """Ours to theirs; where several are one, the first."""
    return {ours: theirs for theirs, ours in reversed(names.items())}

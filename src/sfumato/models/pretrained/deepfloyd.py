"""DeepFloyd IF: a cascade of pixel UNets that take texts encoded by T5 (extra `sfumato[pretrained]`).

eps with a learned-range variance (six channels), a squared-cosine table, dynamic thresholding. A stage that
upscales is shown the low-resolution picture, enlarged and noised, as three more channels.
"""

from __future__ import annotations

from dataclasses import replace

from sfumato.errors import SfumatoError
from sfumato.models.low_resolution import EnlargedPicture
from sfumato.models.model import Model
from sfumato.models.pretrained.encoders import text_embeddings
from sfumato.models.pretrained.licence import filters_of
from sfumato.models.pretrained.loading import Folder, lazy_network
from sfumato.models.pretrained.prompts import ConditionalUNet, EncodedPrompts, square
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of
from sfumato.models.runtime.placement import Placement

TOKENS = 77  # IF was trained with no more tokens of T5
STEPS, GUIDANCE = 100, 7.0  #             as IFPipeline has them
UPSCALE_STEPS, UPSCALE_GUIDANCE = 50, 4.0  # as IFSuperResolutionPipeline has them
NOISE_LEVEL = 250  #                          its timestep of the low-resolution picture's noise


def clean(text: str) -> str:
    """A text as diffusers hands it to T5 without its optional caption cleaning."""
    return text.lower().strip()


def load_deepfloyd(folder: Folder, *, name: str, placement: Placement) -> Model:
    """Stage I of a folder of IFPipeline, or a stage that upscales of IFSuperResolutionPipeline.

    Raises:
        ModelUnavailableError, SfumatoError: as `load_network`.
    """
    upscales = "SuperResolution" in folder.pipeline
    scheduler = read_scheduler(folder.at("scheduler"))
    config = folder.config("unet")
    size, channels = square(folder, config), config.get("in_channels", 0) // (2 if upscales else 1)
    if config.get("out_channels") not in {channels, 2 * channels}:
        raise SfumatoError(
            f"{folder.at('unet')}: {config.get('in_channels')} channels in and {config.get('out_channels')} "
            f"out are not those of a {folder.pipeline}"
        )
    width = config.get("encoder_hid_dim") or config.get("cross_attention_dim", 0)
    defaults = defaults_of(scheduler, steps=STEPS, guidance=GUIDANCE)
    shape = (channels, size, size)
    schedule, low_schedule = schedule_of(scheduler), None
    if upscales:
        defaults = replace(defaults, steps=UPSCALE_STEPS, guidance=UPSCALE_GUIDANCE)
        low_schedule = schedule_of(read_scheduler(folder.at("image_noising_scheduler")))
    call = ConditionalUNet(schedule, low_schedule)
    embeddings = text_embeddings(
        folder,
        device=placement.device,
        width=width,
        length=lambda tokenizer: TOKENS,  # noqa: ARG005
        masked=lambda encoder: True,  # noqa: ARG005
        clean=clean,
    )
    return Model(
        lazy_network(folder, "unet", placement, call=call),
        name=name,
        schedule=schedule,
        prediction=prediction_of(scheduler),
        shape=shape,
        conditioner=EncodedPrompts(embeddings),
        low_resolution=None
        if low_schedule is None
        else EnlargedPicture(schedule=low_schedule, t=(NOISE_LEVEL + 1) / 1000, state_shape=shape),
        defaults=defaults,
        sha256=weights_digest(folder.at("unet")),
        postprocess=filters_of(folder),
    )

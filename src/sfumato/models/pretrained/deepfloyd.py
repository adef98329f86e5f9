"""DeepFloyd IF: a cascade of pixel UNets that take texts encoded by T5 (extra `sfumato[pretrained]`).

eps with a learned-range variance (six channels), a squared-cosine table, dynamic thresholding. A stage that
upscales is shown the low-resolution picture, enlarged and noised, as three more channels.
"""

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

    Errors are those of `load_network`.
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
    shape = (channels, size, size)
    schedule, low_schedule, low_resolution = schedule_of(scheduler), None, None
    steps, guidance = STEPS, GUIDANCE
    if upscales:
        steps, guidance = UPSCALE_STEPS, UPSCALE_GUIDANCE
        low_schedule = schedule_of(read_scheduler(folder.at("image_noising_scheduler")))
        t = (NOISE_LEVEL + 1) / 1000
        low_resolution = EnlargedPicture(schedule=low_schedule, t=t, state_shape=shape)
    embeddings = text_embeddings(
        folder,
        {"text_encoder": "tokenizer"},
        device=placement.device,
        width=config.get("encoder_hid_dim") or config.get("cross_attention_dim", 0),
        length=TOKENS,
        masked=True,
        clean=clean,
    )
    return Model(
        lazy_network(folder, "unet", placement, call=ConditionalUNet(schedule, low_schedule)),
        name=name,
        schedule=schedule,
        prediction=prediction_of(scheduler),
        shape=shape,
        conditioner=EncodedPrompts(embeddings),
        low_resolution=low_resolution,
        defaults=defaults_of(scheduler, steps=steps, guidance=guidance),
        sha256=weights_digest(folder.at("unet")),
        postprocess=filters_of(folder),
    )

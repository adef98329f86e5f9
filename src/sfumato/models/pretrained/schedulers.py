"""scheduler_config.json, read as a schedule, a prediction type and the settings of sampling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sfumato.core.prediction import Prediction
from sfumato.core.schedule import BetaTable, TableKind
from sfumato.errors import SfumatoError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.pretrained.safety import read_config

SCHEDULER = "scheduler_config.json"

TABLES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "squared_cosine"}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
SPACINGS = {"leading": "leading", "linspace": "uniform", "trailing": "trailing"}
# diffusers' fixed_small_log is fixed_small by another road; the other variances are not of Ho et al.
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "learned_range": "learned",
}
SOLVERS = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler"}
SOLVERS |= {"UniPCMultistepScheduler": "unipc"}


def read_scheduler(path: Path) -> dict[str, Any]:
    """The checked configuration of a scheduler: its folder, or the pipeline's in old repositories."""
    return read_config(path / SCHEDULER)


def schedule_of(config: Mapping[str, Any]) -> BetaTable:
    """The table of a configuration; SfumatoError for one that is not here."""
    kind = config.get("beta_schedule", "linear")
    if kind not in TABLES or config.get("trained_betas") or config.get("rescale_betas_zero_snr"):
        raise SfumatoError(f"{SCHEDULER}: the schedule {kind!r} with its options is not known here")
    timesteps = config.get("num_train_timesteps", 1000)
    if TABLES[kind] == "squared_cosine":
        return BetaTable("squared_cosine", timesteps=timesteps)
    return BetaTable(
        cast(TableKind, TABLES[kind]),
        timesteps=timesteps,
        beta_start=config.get("beta_start", 1e-4),
        beta_end=config.get("beta_end", 0.02),
    )


def prediction_of(config: Mapping[str, Any]) -> Prediction:
    """What the network predicts; SfumatoError for a kind that is not here."""
    kind = config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise SfumatoError(f"{SCHEDULER}: the prediction type {kind!r} is not known here")
    return cast(Prediction, PREDICTIONS[kind])


def defaults_of(config: Mapping[str, Any], *, steps: int, guidance: float = 1.0) -> SamplingDefaults:
    """How diffusers' own pipeline samples with this scheduler: solver, spacing, clipping and variance.

    A scheduler that has no counterpart here is replaced by DPM-Solver++ (2M) on trailing timesteps.
    """
    solver = SOLVERS.get(str(config.get("_class_name")), "dpm++2m")
    spacing, clips, thresholds = "trailing", False, False
    if solver in {"ddpm", "ddim"}:
        clips, thresholds = config.get("clip_sample", True), config.get("thresholding", False)
        if not config.get("steps_offset", 0):
            spacing = SPACINGS.get(config.get("timestep_spacing", "leading"), "trailing")
    limit = config.get("sample_max_value" if thresholds else "clip_sample_range", 1.0)
    return SamplingDefaults(
        steps=steps,
        solver=solver,
        spacing=spacing,
        guidance=guidance,
        clip=bool(clips or thresholds),
        limit=float(limit),
        quantile=float(config.get("dynamic_thresholding_ratio", 0.995)) if thresholds else None,
        options=_options(solver, config),
    )


def _options(solver: str, config: Mapping[str, Any]) -> dict[str, float | str]:
    if solver != "ddpm":
        return {"direction": "raw"} if solver == "ddim" else {}
    variance = config.get("variance_type", "fixed_small")
    if variance not in VARIANCES:
        raise SfumatoError(f"{SCHEDULER}: the variance {variance!r} is not known here")
    return {"variance": VARIANCES[variance]}

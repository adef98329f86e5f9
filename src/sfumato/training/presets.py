"""Named training configurations in one table, with the measured results of each.

Pixels are in [-1, 1] everywhere. The classic exercise's denoiser works on [0, 1] pixels: its x + 0.5 eps is
(2x - 1) + 1.0 eps in [-1, 1]. So FixedSigma(1.0) is exactly its sigma of 0.5, and the squared error is four
times as large.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Schedule
from sfumato.errors import UsageError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.text.phrasing import STYLES
from sfumato.training.ema import EmaProfile, PowerFunction
from sfumato.training.objective import (
    ErrorOf,
    FixedTime,
    HalfEach,
    LogitNormalTimes,
    Objective,
    TableTimes,
)


@dataclass(frozen=True, kw_only=True)
class LearningRate:
    """The learning rate at each step: linear warmup, then a decay.

    Attributes:
        peak: the rate after the warmup.
        warmup: the steps from 0 to the peak.
        decay: "none"; "epoch" (times `factor` after every epoch); "linear" or "cosine" (to 0 at the end);
            "last" (linear to 0 over the last fifth).
        factor: for "epoch" only.
    """

    peak: float
    warmup: int = 0
    decay: Literal["none", "epoch", "linear", "cosine", "last"] = "none"
    factor: float | None = None

    def __post_init__(self) -> None:
        if self.peak <= 0 or self.warmup < 0:
            raise UsageError("a learning rate needs a peak above 0 and a warmup of at least 0 steps")
        if (self.decay == "epoch") != (self.factor is not None):
            raise UsageError('a learning rate takes a factor with decay="epoch" and only then')

    def at(self, step: int, *, per_epoch: int, total: int) -> float:
        """The rate for step number `step` (from 0) of `total`, `per_epoch` of them to an epoch."""
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, total - self.warmup)  # 0 .. 1
        if self.decay == "linear":
            return self.peak * (1 - done)
        if self.decay == "last":
            return self.peak * min(1.0, 5 * (1 - done))
        if self.decay == "cosine":
            return self.peak * 0.5 * (1 + math.cos(math.pi * done))
        if self.factor is not None:
            return float(self.peak * self.factor ** (step // per_epoch))
        return self.peak


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam with decoupled weight decay on matrices and convolutions (AdamW); plain Adam where it is 0."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MuonAdam:
    """Muon for the convolutions between hidden layers, Adam for the rest, at one learning rate (muon.py)."""

    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of a training picture.

    Attributes:
        shift: at most this many pixels in each direction; the edge is repeated.
        mirror: mirror left and right with probability 1/2; not for digits.
    """

    shift: int = 0
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise UsageError(f"a shift of {self.shift} pixels; it must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that defines a training except the seed and the machine.

    Attributes:
        name, summary: its name, and what the trained model is.
        data: the data set's name (`load_dataset`).
        network, network_config: a name in `models.networks.NETWORKS` and its arguments.
        conditional: whether the network gets the conditions of the pictures.
        objective: noise levels, prediction type, loss weights, label dropout.
        batch: pictures in one optimiser step, over all processes.
        epochs: passes over the data; an incomplete last batch of a pass is left out.
        optimizer, learning_rate, clip: `clip` is the largest gradient norm; None is no limit.
        ema: the profile of the averaged weights, which are then the exported ones.
        augment: random changes of the pictures.
        sampling: the defaults of the exported Model.
        measured: results of this preset; they do not affect the training.
    """

    name: str
    summary: str
    data: str = "mnist"
    network: str
    network_config: Mapping[str, Any]
    conditional: bool
    objective: Objective
    batch: int
    epochs: int
    optimizer: Adam | MuonAdam = Adam()
    learning_rate: LearningRate
    clip: float | None = None
    ema: EmaProfile | None = None
    augment: Augment = Augment()
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    measured: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch < 1 or self.epochs < 1:
            raise UsageError(f"{self.name}: batch and epochs must be at least 1")
        if self.clip is not None and self.clip <= 0:
            raise UsageError(f"{self.name}: clip must be above 0, or None for no clipping")
        if self.objective.drop_label > 0 and not self.conditional:
            raise UsageError(f"{self.name}: label dropout needs conditional=True")

    def lasting(self, epochs: int) -> "Preset":
        """The same preset over another number of epochs; a rate that falls by epoch falls as far in all."""
        rate = self.learning_rate
        if rate.factor is not None and epochs >= 1:
            rate = dataclasses.replace(rate, factor=rate.factor ** (self.epochs / epochs))
        return dataclasses.replace(self, epochs=epochs, learning_rate=rate)

    def describe(self) -> dict[str, Any]:
        """Everything that the training depends on, as JSON values; a checkpoint is compared with it."""
        silent = ("summary", "sampling", "measured")
        return {
            f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in silent
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _classic(
    name: str, summary: str, *, classes: int | None, guidance: float, measured: Mapping[str, float | str]
) -> Preset:
    """The two time-conditional networks of the exercise, which differ in the class alone."""
    return Preset(
        name=name,
        summary=summary,
        network="classic",
        network_config={"hidden": 64, "timed": True, "classes": classes},
        conditional=classes is not None,
        objective=Objective(
            schedule=BetaTable(kind="linear", timesteps=300, beta_start=1e-4, beta_end=0.02),
            prediction="eps",
            times=TableTimes(),
            weighting=ErrorOf(quantity="eps"),
            drop_label=0.1 if classes is not None else 0.0,
        ),
        batch=128,
        epochs=20,
        learning_rate=LearningRate(peak=1e-3, decay="epoch", factor=0.1 ** (1 / 20)),
        sampling=SamplingDefaults(
            steps=300, solver="ddpm", guidance=guidance, options={"variance": "fixed_large"}
        ),
        measured=measured,
    )


_ROWS = (
    Preset(
        name="digits-denoise",
        summary="the exercise's one-step denoiser: x + 0.5 eps on [0, 1] pixels to x",
        network="classic",
        network_config={"hidden": 128, "timed": False, "classes": None},
        conditional=False,
        objective=Objective(
            schedule=FixedSigma(1.0),
            prediction="x0",
            times=FixedTime(t=1.0),
            weighting=ErrorOf(quantity="x0"),
        ),
        batch=256,
        epochs=5,
        learning_rate=LearningRate(peak=1e-4),
        sampling=SamplingDefaults(steps=1, solver="ddim"),
        measured={
            "mean square error of 1000 test digits at sigma 0.5": 0.0078,
            "training": "64 min on one AMX core",
        },
    ),
    _classic(
        "digits-time",
        "the exercise's time-conditional UNet: digits of any class",
        classes=None,
        guidance=1.0,
        measured={
            "FID at 1000": 53.3,
            "FID of real digits at 1000": 1.13,
            "sampled by": "DPM-Solver++ (2M), 20 steps",
            "training": "26 min on one AMX core and 48 on two",
        },
    ),
    _classic(
        "digits-class",
        "the exercise's class-conditional UNet: the digit of a label",
        classes=10,
        guidance=5.0,
        measured={
            "accuracy at 1000": 1.0,
            "FID at 1000": 8.74,
            "FID of real digits at 1000": 1.13,
            "sampled by": "DPM-Solver++ (2M), 20 steps",
            "training": "95 min on one AMX core",
        },
    ),
    Preset(
        name="digits",
        summary="a modern class-conditional digits model: flow matching, residual blocks, averaged weights",
        network="residual",
        network_config={"width": 32, "deep": 96, "blocks": 1, "middle": 2, "classes": 10},
        conditional=True,
        objective=Objective(
            schedule=Flow(),
            prediction="flow",
            times=LogitNormalTimes(mean=0.0, std=1.0),
            weighting=ErrorOf(quantity="flow"),
            stratified=True,
            drop_label=0.1,
        ),
        batch=64,
        epochs=8,
        optimizer=MuonAdam(),
        learning_rate=LearningRate(peak=4e-3, warmup=300, decay="cosine"),
        clip=1.0,
        ema=PowerFunction(width=0.05),
        sampling=SamplingDefaults(steps=10, solver="dpm++2m", guidance=1.4),
        measured={
            "accuracy at 5000": 0.9944,
            "FID at 5000": 0.73,
            "FID of real digits at 5000": 0.28,
            "training": "37 min on two AVX2 cores that other work shared",
        },
    ),
    Preset(
        name="emoji",
        summary="a text-to-image model: emoji and silhouettes in ten styles, free English text",
        data="emoji",
        network="prompted",
        network_config={
            "blocks": (2, 2, 3),
            "styles": STYLES,
            "concepts": 2728,
            "detail": 32,
            "augment": 10,
        },
        conditional=True,
        objective=Objective(
            schedule=Flow(),
            prediction="flow",
            times=HalfEach(
                one=LogitNormalTimes(mean=1.4, std=1.2),  # layout is decided near t = 1
                other=LogitNormalTimes(mean=-0.3, std=1.0),  # edges and ground
            ),
            weighting=ErrorOf(quantity="flow"),
            clipped=True,
            stratified=True,  # captions are withheld by the data, which still tells how a picture is moved
        ),
        batch=64,
        epochs=200,
        optimizer=MuonAdam(),
        learning_rate=LearningRate(peak=1.5e-3, warmup=100, decay="linear"),
        clip=1.0,
        ema=PowerFunction(width=0.1),
        sampling=SamplingDefaults(
            steps=20, until=0.4, guidance=5.0, guidance_between=(0.42, 1.0), clip=True, styles=STYLES[:7]
        ),
    ),
)

PRESETS: dict[str, Preset] = {row.name: row for row in _ROWS}


def preset(name: str) -> Preset:
    """The preset of this name; the UsageError for another name lists the names."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]

"""Noise schedules: how much of a picture and how much noise there is at every time.

    x_t = alpha(t) x0 + sigma(t) eps,       t in [0, 1]: 0 is data, 1 is the noisiest level.

A solver knows only a `Level` (alpha, sigma); nothing above this file knows which schedule it came from.
The ratio sigma / alpha, the sigma of Karras et al. 2022, grows strictly with t.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor

from sfumato.errors import UsageError

TableKind = Literal["linear", "scaled_linear", "squared_cosine"]

MAX_BETA = 0.999  # of the squared cosine, whose last beta would be 1 (Nichol and Dhariwal 2021, sec. 3.2)


@dataclass(frozen=True)
class Level:
    """One noise level: python floats, so that a solver's coefficients are computed in float64."""

    t: float
    alpha: float
    sigma: float

    @property
    def logsnr(self) -> float:
        """2 log(alpha / sigma); +inf where sigma is 0, -inf where alpha is 0."""
        if self.sigma == 0:
            return math.inf
        if self.alpha == 0:
            return -math.inf
        return 2 * (math.log(self.alpha) - math.log(self.sigma))

    @property
    def ratio(self) -> float:
        """sigma / alpha, the sigma of Karras et al.; inf where alpha is 0."""
        return math.inf if self.alpha == 0 else self.sigma / self.alpha


# The seam: times are floats (or tensors of any shape) in [0, 1]; a time or ratio that the schedule does not
# have raises UsageError. sigma / alpha is 0 at t = 0 and strictly increasing.
class Schedule(ABC):
    """alpha and sigma as functions of time; immutable, comparable and JSON-able."""

    latest: ClassVar[float] = 1.0  # the largest time that the schedule answers

    @property
    def timesteps(self) -> int | None:
        """The number of integer timesteps of a table; None for a continuous schedule."""
        return None

    @abstractmethod
    def _alpha_sigma(self, t: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Alpha and sigma of float64 times on the CPU, whose rounding errors are up to `tolerance`."""

    @abstractmethod
    def _time_at_ratio(self, ratio: float) -> float:
        """The time of a ratio >= 0."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description, {"kind": ..., ...}, that `schedule_from_dict` reads."""

    def level(self, t: float) -> Level:
        """The level at time t."""
        alpha, sigma = self._checked(torch.tensor(float(t), dtype=torch.float64), torch.float64)
        return Level(t=float(t), alpha=alpha.item(), sigma=sigma.item())

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at times of any shape: float32 of that shape on t's device.

        Computed in float64 on the CPU, since float32 loses sigma near t = 0.
        """
        dtype = t.dtype if t.dtype.is_floating_point else torch.float64
        alpha, sigma = self._checked(t.detach().to("cpu", torch.float64), dtype)
        return alpha.to(t.device, torch.float32), sigma.to(t.device, torch.float32)

    def time_at_ratio(self, ratio: float) -> float:
        """The time at which sigma / alpha is `ratio`: the inverse of `level(t).ratio`."""
        if not ratio >= 0:
            raise UsageError(f"sigma / alpha is 0 or more, not {ratio}")
        return self._time_at_ratio(float(ratio))

    def _checked(self, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if not bool(((t >= 0) & (t <= self.latest)).all()):
            worst = t[~((t >= 0) & (t <= self.latest))].flatten()[0].item()
            raise UsageError(f"time {worst:g} is out of range: give 0 (data) to {self.latest:g}")
        return self._alpha_sigma(t, tolerance=4 * torch.finfo(dtype).eps)


@dataclass(frozen=True)
class BetaTable(Schedule):
    """The table of a discrete model: alpha_n^2 = prod_{i <= n} (1 - beta_i), sigma_n^2 = 1 - alpha_n^2.

    Integer timestep n in 0 .. T-1 is the time t = (n + 1) / T; t = 0 is data, which no table holds. Between
    entries log(sigma / alpha) is linear in t, as Karras et al.'s and diffusers' continuous times have it;
    below the first entry sigma / alpha itself is linear down to 0.

    linear: Ho et al. 2020, sec. 4. scaled_linear: linear in sqrt(beta), Rombach et al. 2022. squared_cosine:
    Nichol and Dhariwal 2021, eq. 17; it has no beta_start and beta_end.
    """

    kind: TableKind = "linear"
    _: KW_ONLY
    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in get_args(TableKind):
            raise UsageError(f"no table {self.kind!r}: choose one of {', '.join(get_args(TableKind))}")
        if isinstance(self.timesteps, bool) or not isinstance(self.timesteps, int) or self.timesteps < 2:
            raise UsageError(f"a table has 2 timesteps or more, not {self.timesteps!r}")
        if not all(isinstance(beta, int | float) for beta in (self.beta_start, self.beta_end)):
            raise UsageError(f"betas are numbers, not {self.beta_start!r} and {self.beta_end!r}")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UsageError(
                f"betas need 0 < beta_start <= beta_end < 1, not {self.beta_start} and {self.beta_end}"
            )
        default = (BetaTable.beta_start, BetaTable.beta_end)
        if self.kind == "squared_cosine" and (self.beta_start, self.beta_end) != default:
            raise UsageError("a squared_cosine table has no beta_start and beta_end: leave them out")

    @cached_property
    def betas(self) -> Tensor:
        """The table, (T,) float64."""
        T, start, end = self.timesteps, self.beta_start, self.beta_end
        match self.kind:
            case "linear":
                return torch.linspace(start, end, T, dtype=torch.float64)
            case "scaled_linear":
                return torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2
            case "squared_cosine":
                edges = torch.arange(T + 1, dtype=torch.float64) / T
                alpha_bar = torch.cos((edges + 0.008) / 1.008 * (math.pi / 2)) ** 2
                return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=MAX_BETA)

    @cached_property
    def ratios(self) -> Tensor:
        """sigma / alpha of every entry, (T,) float64, strictly increasing."""
        # sigma^2 / alpha^2 = 1 / alpha^2 - 1, by logarithms: no cancellation at small betas
        return torch.expm1(-torch.log1p(-self.betas).cumsum(0)).sqrt()

    @cached_property
    def _log_ratios(self) -> Tensor:
        return self.ratios.log()

    def _alpha_sigma(self, t: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        place = t * self.timesteps - 1  # fractional index of an entry, -1 at data
        nearest = place.round()
        place = torch.where((place - nearest).abs() <= tolerance * self.timesteps, nearest, place)
        low = place.floor().clamp(0, self.timesteps - 2).long()
        weight = (place - low).clamp(min=0)
        ends = self._log_ratios
        between = torch.exp((1 - weight) * ends[low] + weight * ends[low + 1])
        ratio = torch.where(place < 0, (place + 1) * self.ratios[0], between)
        alpha = torch.rsqrt(1 + ratio**2)
        return alpha, ratio * alpha

    def _time_at_ratio(self, ratio: float) -> float:
        T, first, last = self.timesteps, self.ratios[0].item(), self.ratios[-1].item()
        if ratio > last * (1 + 1e-9):
            raise UsageError(f"sigma / alpha of this table ends at {last:.6g}: {ratio:.6g} is beyond it")
        if ratio <= first:
            return ratio / first / T
        ends = self._log_ratios
        wanted = min(math.log(ratio), ends[-1].item())
        low = min(int(torch.searchsorted(ends, wanted, right=True)) - 1, T - 2)
        below, above = ends[low].item(), ends[low + 1].item()
        return (low + 1 + (wanted - below) / (above - below)) / T

    def to_dict(self) -> dict[str, Any]:
        d = asdict(self)
        if self.kind == "squared_cosine":
            del d["beta_start"], d["beta_end"]
        return d


@dataclass(frozen=True)
class Flow(Schedule):
    """Flow matching: alpha = 1 - t, sigma = t (Lipman et al. 2023; Liu et al. 2023). Pure noise at t = 1."""

    def _alpha_sigma(self, t: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return 1 - t, t

    def _time_at_ratio(self, ratio: float) -> float:
        return 1.0 if math.isinf(ratio) else ratio / (1 + ratio)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "flow"}


@dataclass(frozen=True)
class FixedSigma(Schedule):
    """A denoiser of x0 + sigma eps: alpha = 1, sigma(t) = sigma t.

    It is trained at t = 1 alone; times above 1 are more noise than it was trained for.
    """

    sigma: float
    latest: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if not isinstance(self.sigma, int | float):
            raise UsageError(f"the sigma of a fixed_sigma schedule is a number, not {self.sigma!r}")
        if not 0 < self.sigma < math.inf:
            raise UsageError(f"the sigma of a fixed_sigma schedule is above 0 and finite, not {self.sigma}")

    def _alpha_sigma(self, t: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return torch.ones_like(t), self.sigma * t

    def _time_at_ratio(self, ratio: float) -> float:
        return ratio / self.sigma

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "fixed_sigma", "sigma": self.sigma}


class AlphaSigma(Protocol):
    """Any object that knows how much of a picture and of noise there is at every time."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at times of any shape in [0, 1], each of that shape."""


@dataclass(frozen=True)
class WrappedSchedule(Schedule):
    """A schedule from an object with `alpha_sigma(t)`; t = 0 is data, whatever the object gives there.

    Construction refuses an object whose sigma / alpha does not grow from 0 to 1.
    """

    source: AlphaSigma

    def __post_init__(self) -> None:
        alpha, sigma = self._alpha_sigma(torch.linspace(0, 1, 257, dtype=torch.float64), 0.0)
        # sigma / alpha grows where the angle does, also where alpha is 0
        angle = torch.atan2(sigma, alpha)
        if not bool((alpha >= 0).all() & (sigma >= 0).all() & (angle.diff() > 0).all()):
            raise UsageError(
                f"{type(self.source).__name__}.alpha_sigma: sigma / alpha must grow with t over [0, 1], and "
                "neither may be below 0"
            )

    def _alpha_sigma(self, t: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        alpha, sigma = (torch.as_tensor(part, dtype=torch.float64) for part in self.source.alpha_sigma(t))
        if alpha.shape != t.shape or sigma.shape != t.shape:
            raise UsageError(
                f"{type(self.source).__name__}.alpha_sigma gave the shapes {tuple(alpha.shape)} and "
                f"{tuple(sigma.shape)} for times of the shape {tuple(t.shape)}"
            )
        data = t == 0
        return alpha.masked_fill(data, 1.0), sigma.masked_fill(data, 0.0)

    def _time_at_ratio(self, ratio: float) -> float:
        last = self.level(1.0).ratio
        if ratio > last * (1 + 1e-9):
            raise UsageError(f"sigma / alpha of this schedule ends at {last:.6g}: {ratio:.6g} is beyond it")
        low, high = 0.0, 1.0
        for _ in range(60):  # bisection to the precision of a float
            middle = (low + high) / 2
            low, high = (middle, high) if self.level(middle).ratio < ratio else (low, middle)
        return high

    def to_dict(self) -> dict[str, Any]:
        raise UsageError(f"a schedule of the user's own ({type(self.source).__name__}) cannot be saved")


def as_schedule(schedule: Schedule | AlphaSigma) -> Schedule:
    """A schedule, or any object with `alpha_sigma(t)` made into one; UsageError for anything else."""
    if isinstance(schedule, Schedule):
        return schedule
    if not callable(getattr(schedule, "alpha_sigma", None)):
        kind = type(schedule).__name__
        raise UsageError(
            f"a schedule is sf.Flow(), sf.BetaTable() or an object with alpha_sigma(t), not {kind}"
        )
    return WrappedSchedule(schedule)


_KINDS: dict[str, tuple[Callable[..., Schedule], frozenset[str]]] = {
    "linear": (BetaTable, frozenset({"kind", "timesteps", "beta_start", "beta_end"})),
    "scaled_linear": (BetaTable, frozenset({"kind", "timesteps", "beta_start", "beta_end"})),
    "squared_cosine": (BetaTable, frozenset({"kind", "timesteps"})),
    "flow": (Flow, frozenset()),
    "fixed_sigma": (FixedSigma, frozenset({"sigma"})),
}


def schedule_from_dict(description: Mapping[str, Any]) -> Schedule:
    """The schedule that `to_dict` described; an unknown or missing kind or key raises UsageError."""
    kind = description.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UsageError(f"no schedule of kind {kind!r}: choose one of {', '.join(_KINDS)}")
    make, known = _KINDS[kind]
    unknown = sorted(set(description) - known - {"kind"})
    if unknown:
        raise UsageError(f"a {kind} schedule has no {', '.join(unknown)}")
    if kind == "fixed_sigma" and "sigma" not in description:
        raise UsageError("a fixed_sigma schedule needs its sigma")
    return make(**{key: value for key, value in description.items() if key in known})

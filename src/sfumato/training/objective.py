"""The loss that a network is trained to minimise, and its weight at each noise level.

Contract: a clean picture x0 (B, C, H, W) in [-1, 1] is noised to x_t = alpha x0 + sigma eps. The network
answers in its own prediction type, and the loss of one picture is

    w(t) * mean over pixels of (answer - target)^2.

An error of the answer is an error of x0 times a factor that depends on the level alone (`error_factor`). So a
weighting is stated once, as the weight of the squared error of x0, for every prediction type.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.prediction import Prediction, add_noise, target
from sfumato.core.schedule import Schedule
from sfumato.errors import UsageError
from sfumato.training.data import Forward

DROPPED = -1  # the number that stands for "no condition"


# -- which t


class Times(ABC):
    """A distribution of t, as its quantile function: a batch can then be spread evenly over it."""

    @abstractmethod
    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """u (B,) float64 in (0, 1) to t (B,) float64 in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class TableTimes(Times):
    """Uniform over the entries of a table: t = (n + 1) / T (Ho et al. 2020, algorithm 1)."""

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """See `Times.quantile`; UsageError for a schedule without a table."""
        if schedule.timesteps is None:
            raise UsageError(
                "TableTimes needs a schedule with a table; use UniformTimes for a continuous one"
            )
        return ((u * schedule.timesteps).floor() + 1) / schedule.timesteps


@dataclass(frozen=True, kw_only=True)
class UniformTimes(Times):
    """Uniform over (0, 1)."""

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:  # noqa: ARG002
        """See `Times.quantile`."""
        return u


@dataclass(frozen=True, kw_only=True)
class LogitNormalTimes(Times):
    """logit(t) ~ N(mean, std^2) (Esser et al. 2024, equation 19).

    On the flow schedule logit(t) = log(sigma / alpha): it is the log-normal sigma of Karras et al. 2022.
    """

    mean: float = 0.0
    std: float = 1.0

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:  # noqa: ARG002
        """See `Times.quantile`."""
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


@dataclass(frozen=True, kw_only=True)
class HalfEach(Times):
    """Half of the draws from one distribution, half from another."""

    one: Times
    other: Times

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """See `Times.quantile`; not in order: the first half of u is all of `one`."""
        first = self.one.quantile((2 * u).clamp(max=1 - 1e-12), schedule)
        return torch.where(u < 0.5, first, self.other.quantile((2 * u - 1).clamp(min=1e-12), schedule))


@dataclass(frozen=True, kw_only=True)
class FixedTime(Times):
    """Always the same t: a denoiser for one noise level."""

    t: float = 1.0

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:  # noqa: ARG002
        """See `Times.quantile`."""
        return torch.full_like(u, self.t)


# -- how strongly


def error_factor(prediction: Prediction, alpha: Tensor, sigma: Tensor) -> Tensor:
    """|error of the answer| / |error of x0| at one level, for the same x_t.

    eps = (x - alpha x0) / sigma; v = alpha eps - sigma x0; u = eps - x0: put x0 + e for x0 and read off.
    """
    factors: dict[Prediction, Callable[[], Tensor]] = {
        "x0": lambda: torch.ones_like(alpha),
        "eps": lambda: alpha / sigma,
        "v": lambda: (alpha**2 + sigma**2) / sigma,
        "flow": lambda: (alpha + sigma) / sigma,
    }
    return factors[prediction]()


class Weighting(ABC):
    """The weight of the squared error of x0 at each noise level."""

    @abstractmethod
    def of_x0(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(B,) and (B,) to (B,), at least 0."""

    def of(self, prediction: Prediction, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weight of the squared error of an answer of this prediction type."""
        return self.of_x0(alpha, sigma) / error_factor(prediction, alpha, sigma) ** 2


@dataclass(frozen=True, kw_only=True)
class ErrorOf(Weighting):
    """The plain squared error of this quantity, whatever the network predicts."""

    quantity: Prediction

    def of_x0(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """See `Weighting.of_x0`."""
        return error_factor(self.quantity, alpha, sigma) ** 2

    def of(self, prediction: Prediction, alpha: Tensor, sigma: Tensor) -> Tensor:
        """See `Weighting.of`; exactly 1 for the network's own quantity, also where alpha or sigma is 0."""
        if prediction == self.quantity:
            return torch.ones_like(alpha)
        return super().of(prediction, alpha, sigma)


@dataclass(frozen=True, kw_only=True)
class EdmWeight(Weighting):
    """(s^2 + d^2) / (s d)^2 with s = sigma / alpha, d = sigma_data (Karras et al. 2022, table 1)."""

    sigma_data: float = 0.5

    def of_x0(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """See `Weighting.of_x0`."""
        return 1 / self.sigma_data**2 + (alpha / sigma) ** 2


@dataclass(frozen=True, kw_only=True)
class MinSnr(Weighting):
    """min(SNR, gamma) (Hang et al. 2023, equation 8)."""

    gamma: float = 5.0

    def of_x0(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """See `Weighting.of_x0`."""
        return ((alpha / sigma) ** 2).clamp(max=self.gamma)


# -- the objective


def beyond_range(x0: Tensor, error: Tensor) -> Tensor:
    """Where an estimate x0 + error lies beyond a pixel that is at an end of [-1, 1], bool of their shape."""
    return (x0.abs() >= 1) & (error * x0 > 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomInputs:
    """The random inputs of the loss, for some rows of a global batch; on the CPU."""

    noise: Tensor  # (B, C, H, W) standard normal
    t: Tensor  # (B,) float32
    dropped: Tensor  # (B,) bool: the rows whose condition is dropped

    def rows(self, start: int, stop: int) -> "RandomInputs":
        """The share of one process."""
        part = slice(start, stop)
        return RandomInputs(noise=self.noise[part], t=self.t[part], dropped=self.dropped[part])


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Noise levels, prediction type and weighting: everything that defines the loss.

    Attributes:
        schedule, prediction: those of the trained Model.
        times: the distribution of t.
        weighting: the weight of each level.
        stratified: spread the t of a batch evenly over their distribution (Kingma et al. 2021, appendix I.1).
        drop_label: the probability that a picture's condition is dropped, for classifier-free guidance.
        clipped: the sampler will clip estimates to [-1, 1], so an estimate beyond a pixel that lies at an
            end of the range is no error. So white ground can become exactly white.
    """

    schedule: Schedule
    prediction: Prediction
    times: Times
    weighting: Weighting
    stratified: bool = False
    drop_label: float = 0.0
    clipped: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.drop_label <= 1:
            raise UsageError(f"drop_label is {self.drop_label}, but a probability lies in 0..1")
        self.times.quantile(torch.full((1,), 0.5, dtype=torch.float64), self.schedule)

    def draw(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> RandomInputs:
        """The random inputs of a whole global batch of this shape, from a CPU generator."""
        count = shape[0]
        noise = torch.randn(shape, generator=generator)
        if self.stratified:
            offset = torch.rand(1, generator=generator, dtype=torch.float64)
            u = (torch.randperm(count, generator=generator) + offset) / count
        else:
            u = torch.rand(count, generator=generator, dtype=torch.float64)
        t = self.times.quantile(u.clamp(min=1e-12), self.schedule).to(torch.float32)
        dropped = torch.rand(count, generator=generator) < self.drop_label
        return RandomInputs(noise=noise, t=t, dropped=dropped)

    def loss(self, network: Forward, x0: Tensor, condition: Tensor, random: RandomInputs) -> Tensor:
        """The loss of each picture.

        Args:
            network: see `Dataset.conditioned_forward`.
            x0: (B, C, H, W) float32 in [-1, 1].
            condition: (B,) int64, DROPPED where there is none.
            random: the random inputs of these B pictures.

        Returns:
            (B,) float32.
        """
        device = x0.device
        alpha, sigma = (level.to(device) for level in self.schedule.alpha_sigma(random.t))  # (B,)
        noise, t = random.noise.to(device), random.t.to(device)
        condition = torch.where(random.dropped.to(device), DROPPED, condition)
        a, s = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
        answer = network(add_noise(x0, noise, a, s), t, condition).float()  # (B, C, H, W)
        error = answer - target(self.prediction, x0, noise, a, s)
        if self.clipped:
            of_x0 = error if self.prediction == "x0" else -error  # in its sign
            error = torch.where(beyond_range(x0, of_x0), 0.0, error)
        square = error.square().flatten(1).mean(1)
        return self.weighting.of(self.prediction, alpha, sigma) * square  # (B,)

"""Paths: the times that a sampler visits.

A path is a tuple of times; the first is the noisiest, the last is 0.0, which is data. A downward pair is a
denoising step, an upward one adds noise back. Image-to-image is a path that starts late, RePaint's
resampling a path that zigzags.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from sfumato.core.schedule import Schedule
from sfumato.errors import UsageError

Path = tuple[float, ...]

MAX_STEPS = 10_000
FIRST_TIME = 1e-3  #                    a continuous schedule's smallest noisy time, as of a table of 1000
RATIO_MIN, RATIO_MAX = 0.002, 80.0  #   its range of sigma / alpha (Karras et al. 2022, table 1)
RHO = 7.0  #                            Karras et al. 2022, eq. 5


def make_path(schedule: Schedule, steps: int, spacing: str = "trailing", strength: float = 1.0) -> Path:
    """A downward path of `steps` steps, that is steps + 1 times.

    trailing: evenly spaced from the noisiest level. leading: evenly spaced down to the first entry, missing
    the noisiest level; uniform: evenly spaced from the noisiest level to the first entry, both included
    ("linspace"). On a table these three are diffusers' integer timesteps (Lin et al. 2024, table 2).
    karras: sigma / alpha as in Karras et al. 2022, eq. 5, rho = 7. logsnr: evenly spaced in log-SNR.
    strength in (0, 1] keeps the last int(steps * strength) steps, at least 1 (Meng et al. 2022, SDEdit).
    A value out of range raises UsageError.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"steps must be a whole number from 1 to {MAX_STEPS}, not {steps!r}")
    if not 0 < strength <= 1:
        raise UsageError(f"strength must be above 0 and at most 1, not {strength}")
    if spacing not in _SPACINGS:
        raise UsageError(f"no spacing {spacing!r}: choose one of {', '.join(_SPACINGS)}")
    times = _SPACINGS[spacing](schedule, steps)
    kept = max(1, int(steps * strength))
    return (*times[steps - kept :], 0.0)


@dataclass(frozen=True, kw_only=True)
class PathSettings:
    """What a path is made from, on whatever schedule.

    steps, spacing, strength   of `make_path`
    start     the time to start at instead of by strength: `steps` even steps lead from there to data
    until     the path is left at the last of its times that is not below, by one step to data; 0 is its end
    jump, repeats   of `zigzag`; repeats 1 goes straight down
    """

    steps: int
    spacing: str = "trailing"
    strength: float = 1.0
    start: float | None = None
    until: float = 0.0
    jump: int = 10
    repeats: int = 1

    @property
    def most_steps(self) -> int:
        """At most how many downward steps the path has, counted without making it."""
        steps = self.steps if self.start is not None else max(1, int(self.steps * self.strength))
        if self.repeats == 1:
            return steps
        returns = len(range(0, steps - self.jump, self.jump))  # as `zigzag` has them
        return steps + returns * (self.repeats - 1) * self.jump

    def path(self, schedule: Schedule) -> Path:
        """The times on a schedule; a value out of range raises UsageError."""
        if self.start is None:
            path = make_path(schedule, self.steps, spacing=self.spacing, strength=self.strength)
        elif self.strength < 1:
            raise UsageError("a run starts at a time or by a strength: leave one of the two out")
        else:
            path = even_path(schedule, self.steps, self.start)
        path = left_at(path, self.until)
        return path if self.repeats == 1 else zigzag(path, jump=self.jump, repeats=self.repeats)


def even_path(schedule: Schedule, steps: int, start: float) -> Path:
    """From a time down to data in `steps` even steps; on a table at its entries, each once."""
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"steps must be a whole number from 1 to {MAX_STEPS}, not {steps!r}")
    if not 0 < start <= schedule.latest:
        raise UsageError(f"a path starts above time 0 and at most at {schedule.latest:g}, not at {start}")
    times = [start * (1 - i / steps) for i in range(1, steps)]
    T = schedule.timesteps
    if T is not None:
        times = [round(t * T) / T for t in times]
    return (start, *dict.fromkeys(t for t in times if 0 < t < start), 0.0)


def left_at(path: Path, until: float) -> Path:
    """A downward path as far as its last time that is not below `until` in [0, 1), then one step to data.

    A path that starts below `until` is one step.
    """
    if not 0 <= until < 1:
        raise UsageError(f"a path is left at a time from 0 to below 1, not at {until}")
    first, *between = path[:-1]
    return (first, *(t for t in between if t >= until - 1e-9), path[-1])  # 1 - 12 / 20 is not quite 0.4


def zigzag(path: Path, jump: int = 10, repeats: int = 10) -> Path:
    """RePaint's resampling: `repeats` passes over every stretch of `jump` steps, going back up in between.

    Lugmayr et al. 2022, app. B: a path of T steps goes `jump` steps back up, repeats - 1 times over, from
    every jump-th time counted from the last noisy one. T = 250, jump 10, repeats 10 make 2410 downward steps.
    It goes up step by step. repeats = 1 is the path itself; a jump that does not fit raises UsageError.
    """
    steps = len(path) - 1
    if jump < 1 or repeats < 1:
        raise UsageError(f"jump and repeats must be 1 or more, not {jump} and {repeats}")
    if repeats == 1:
        return path
    if jump >= steps:
        raise UsageError(f"a jump of {jump} does not fit a path of {steps} steps: give a smaller jump")
    returns = {steps - 1 - left: repeats - 1 for left in range(0, steps - jump, jump)}
    places, here = [0], 0
    while here < steps:
        here += 1
        places.append(here)
        if returns.get(here, 0) > 0:
            returns[here] -= 1
            places.extend(range(here - 1, here - jump - 1, -1))
            here -= jump
    return tuple(path[place] for place in places)


# ------------------------------------------------- spacings: (schedule, steps) -> the noisy times, descending


def _trailing(schedule: Schedule, steps: int) -> list[float]:
    T = schedule.timesteps
    if T is None:
        return [1 - i / steps for i in range(steps)]
    stride = (T - T / steps) - T  # rounded as numpy.arange(T, 0, -T / steps) rounds it: halves matter below
    return _entries(T, steps, [round(T + i * stride) - 1 for i in range(steps)])


def _leading(schedule: Schedule, steps: int) -> list[float]:
    T, down = schedule.timesteps, range(steps - 1, -1, -1)
    if T is None:
        return [FIRST_TIME + (1 - FIRST_TIME) * i / steps for i in down]
    return _entries(T, steps, [i * (T // steps) for i in down])


def _uniform(schedule: Schedule, steps: int) -> list[float]:
    T = schedule.timesteps
    if T is None:
        return _linspace(1.0, FIRST_TIME, steps)
    stride = (T - 1) / max(1, steps - 1)  # a single step starts at the noisiest entry
    return _entries(T, steps, [T - 1, *(round(i * stride) for i in range(steps - 2, -1, -1))])


def _karras(schedule: Schedule, steps: int) -> list[float]:
    high, low = _ratio_range(schedule)
    ramp = _linspace(high ** (1 / RHO), low ** (1 / RHO), steps)
    return _at_ratios(schedule, [r**RHO for r in ramp])


def _logsnr(schedule: Schedule, steps: int) -> list[float]:
    high, low = _ratio_range(schedule)
    return _at_ratios(schedule, [math.exp(r) for r in _linspace(math.log(high), math.log(low), steps)])


_SPACINGS: dict[str, Callable[[Schedule, int], list[float]]] = {
    "trailing": _trailing,
    "leading": _leading,
    "uniform": _uniform,
    "karras": _karras,
    "logsnr": _logsnr,
}
PATHS: tuple[str, ...] = tuple(_SPACINGS)


def _entries(T: int, steps: int, timesteps: list[int]) -> list[float]:
    """Times of the integer timesteps of a table."""
    if steps > T:
        raise UsageError(f"a table of {T} timesteps has no path of {steps} steps: choose {T} or fewer")
    return [(n + 1) / T for n in timesteps]


def _ratio_range(schedule: Schedule) -> tuple[float, float]:
    """The largest and smallest sigma / alpha of a path: a table's own ends, or Karras et al.'s."""
    high = min(schedule.level(1.0).ratio, RATIO_MAX if schedule.timesteps is None else math.inf)
    if schedule.timesteps is not None:
        return high, schedule.level(1 / schedule.timesteps).ratio
    return high, RATIO_MIN * min(1.0, high)


def _at_ratios(schedule: Schedule, ratios: list[float]) -> list[float]:
    """Times of ratios; the first is t = 1 exactly, where a continuous schedule's ratio may be infinite."""
    return [1.0, *(schedule.time_at_ratio(r) for r in ratios[1:])]


def _linspace(start: float, end: float, count: int) -> list[float]:
    """`count` evenly spaced values, both ends included; a single one is the start."""
    return [start] if count == 1 else [start + (end - start) * i / (count - 1) for i in range(count)]

"""Study pieces: what noise does to a picture, and ways to take it away.

Each works on one picture (1, C, H, W) in [-1, 1]; the seed alone draws the noise. The estimates are those of
a run (sampling.make_run), with the model's own guidance and clipping.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.engine import Engine, SamplerCoroutine
from sfumato.core.expression import Expression, as_expression, unconditional
from sfumato.core.filters import LowPass
from sfumato.core.frame import Frame
from sfumato.core.noise import Noise
from sfumato.core.prediction import add_noise
from sfumato.core.sampler import Step, evaluate
from sfumato.core.schedule import Schedule
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.sampling import make_run, run_together
from sfumato.techniques import GivenPicture, translate


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoising:
    """One picture at one noise level, and what three methods make of it; tensors (1, C, H, W)."""

    t: float
    noised: Tensor
    blurred: Tensor
    one_step: Tensor
    iterative: Tensor
    states: tuple[Tensor, ...]  # x before each iterative step
    estimates: tuple[Tensor, ...]  # x0 as estimated at each


def noised(schedule: Schedule, picture: Tensor, t: float, *, seed: int = 0) -> Tensor:
    """The forward process, x_t = alpha x0 + sigma eps (Ho et al. 2020, eq. 4)."""
    _check_time(t)
    level = schedule.level(t)
    _, c, h, w = picture.shape
    return add_noise(picture, Noise([seed], (c, h, w)).draw(), level.alpha, level.sigma)


def blur_denoised(schedule: Schedule, x: Tensor, t: float, *, sigma: float) -> Tensor:
    """What a Gaussian blur can do: x / alpha, low-passed; sigma in pixels at a height of 64."""
    alpha = schedule.level(t).alpha
    return LowPass(sigma).apply(x / alpha if alpha > 0 else x).clamp(-1, 1)


def one_step_denoised(model: Model, x: Tensor, t: float, what: Expression | str | None = None) -> Tensor:
    """The estimate of x0 at x_t, (1, C, H, W), under the model's guidance and clipping."""
    size = (model.shape[1], model.shape[2])
    expression = unconditional() if what is None else as_expression(what)
    e = model.lower(model.defaults.with_defaults(expression), size)
    model.prepare(e)
    frame = Frame(x=x.to(model.device), now=model.schedule.level(t), native=size)

    def estimate() -> SamplerCoroutine:
        return (yield from evaluate(e, frame)).x0

    with torch.inference_mode():
        (x0,) = Engine(model).run(estimate())
    return _leaving(model, model.decode(x0))


def iteratively_denoised(
    model: Model,
    picture: GivenPicture,
    t: float,
    what: Expression | str | None = None,
    *,
    steps: int = 20,
    solver: str | None = None,
    seed: int = 0,
) -> tuple[Tensor, list[Step]]:
    """Noise a picture to t with this seed, and denoise it in `steps` steps (on a table one for each entry).

    Returns the picture and what each step saw; solver None is the model's own.
    """
    _check_time(t)
    edit = translate(picture, unconditional() if what is None else what, start_time=t)
    seen: list[Step] = []
    run = make_run(model, edit, steps=steps, solver=solver, seed=seed)
    (made,) = run_together([run], on_step=seen.append)
    return made.x, seen


def denoise(
    model: Model,
    picture: GivenPicture,
    what: Expression | str | None = None,
    *,
    at: Sequence[float] = (0.25, 0.5, 0.75),
    steps: int = 20,
    solver: str | None = None,
    blur: float = 2.0,
    seed: int = 0,
) -> list[Denoising]:
    """Noise a picture to each level and denoise it by blur, in one step and iteratively.

    All but the blur are one run: its first step begins at the noised picture and estimates x0 in one step.
    """
    if not at:
        raise UsageError("give at least one noise level, such as --at 0.5")
    out = []
    for t in at:
        iterative, seen = iteratively_denoised(model, picture, t, what, steps=steps, solver=solver, seed=seed)
        states = tuple(model.decode(step.x).cpu() for step in seen)
        estimates = tuple(_leaving(model, model.decode(step.x0)) for step in seen)
        out.append(
            Denoising(
                t=t,
                noised=states[0],
                blurred=blur_denoised(model.schedule, states[0], t, sigma=blur),
                one_step=estimates[0],
                iterative=iterative,
                states=states,
                estimates=estimates,
            )
        )
    return out


def psnr(x: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for pictures in [-1, 1] (peak to peak 2)."""
    error = float((x.clamp(-1, 1) - reference).square().mean())
    return float("inf") if error == 0 else 10 * float(torch.log10(torch.tensor(4 / error)))


def _leaving(model: Model, x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) as they may leave, on the CPU."""
    return model.postprocess(x.clamp(-1, 1)).cpu()


def _check_time(t: float) -> None:
    if not 0 < t <= 1:
        raise UsageError(f"a noise level is a time in (0, 1], not {t}")

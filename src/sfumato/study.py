"""Study pieces: what noise does to a picture, and four ways to take it away.

Each works on one picture (1, C, H, W) in [-1, 1] and says all it did; nothing is random but the noise drawn
from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.engine import Asking, Engine
from sfumato.core.expression import Expression, as_expression
from sfumato.core.filters import LowPass
from sfumato.core.frame import Frame
from sfumato.core.invariant import check_whole
from sfumato.core.noise import Noise
from sfumato.core.path import even_path
from sfumato.core.prediction import add_noise
from sfumato.core.sampler import Step, evaluate, sampler
from sfumato.core.schedule import Schedule
from sfumato.core.solvers import make_solver
from sfumato.errors import UsageError
from sfumato.models.model import Model


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
    noise = Noise([seed], _shape(picture)).draw()
    return add_noise(picture, noise, level.alpha, level.sigma)


def blur_denoised(schedule: Schedule, x: Tensor, t: float, *, sigma: float) -> Tensor:
    """What a Gaussian blur can do: x / alpha, low-passed; sigma in pixels at a height of 64."""
    alpha = schedule.level(t).alpha
    return LowPass(sigma).apply(x / alpha if alpha > 0 else x).clamp(-1, 1)


def one_step_denoised(model: Model, x: Tensor, t: float, what: Expression | str) -> Tensor:
    """The network's estimate of x0 from one look at x_t (Ho et al. 2020, eq. 15)."""
    frame = Frame(x=x.to(model.device), now=model.schedule.level(t), native=(model.shape[1], model.shape[2]))

    def asking(e: Expression) -> Asking:
        return (yield from evaluate(e, frame)).x0

    with torch.inference_mode():
        (x0,) = Engine(model).run(asking(_whole(model, what)))
    return _released(model, x0)


def iteratively_denoised(
    model: Model,
    x: Tensor,
    t: float,
    what: Expression | str,
    *,
    steps: int = 20,
    solver: str = "ddim",
    seed: int = 0,
) -> tuple[Tensor, list[Step]]:
    """Denoise x_t in `steps` strided steps (on a table at most one for each entry).

    Returns the picture and what each step saw. seed: that of `noised`, whose draws go on from there.
    """
    e = _whole(model, what)
    seen: list[Step] = []
    noise = Noise([seed], _shape(x), model.device)
    noise.draw()  # the noise that is in x already
    asking = sampler(
        e,
        x=x.to(model.device),
        path=even_path(model.schedule, steps, t),
        schedule=model.schedule,
        solver=make_solver(solver),
        draw=noise.draw,
        native=(model.shape[1], model.shape[2]),
        on_step=seen.append,
    )
    with torch.inference_mode():
        (out,) = Engine(model).run(asking)
    return _released(model, out), seen


def denoise(
    model: Model,
    picture: Tensor,
    what: Expression | str,
    *,
    at: Sequence[float] = (0.25, 0.5, 0.75),
    steps: int = 20,
    blur: float = 2.0,
    seed: int = 0,
) -> list[Denoising]:
    """Noise a picture to each level and denoise it by blur, in one step and iteratively."""
    if not at:
        raise UsageError("give at least one noise level, such as --at 0.5")
    out = []
    for t in at:
        x = noised(model.schedule, picture, t, seed=seed)
        iterative, seen = iteratively_denoised(model, x, t, what, steps=steps, seed=seed)
        out.append(
            Denoising(
                t=t,
                noised=x,
                blurred=blur_denoised(model.schedule, x, t, sigma=blur),
                one_step=one_step_denoised(model, x, t, what),
                iterative=iterative,
                states=tuple(step.x.cpu() for step in seen),
                estimates=tuple(step.x0.cpu() for step in seen),
            )
        )
    return out


def psnr(x: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for pictures in [-1, 1] (peak to peak 2)."""
    error = float((x.clamp(-1, 1) - reference).square().mean())
    return float("inf") if error == 0 else 10 * float(torch.log10(torch.tensor(4 / error)))


def _whole(model: Model, what: Expression | str) -> Expression:
    e = as_expression(what)
    check_whole(e, model.state_shape, native=(model.shape[1], model.shape[2]))
    return e


def _released(model: Model, x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) as they may leave, on the CPU."""
    x = x.clamp(-1, 1)
    return model.postprocess(x).cpu()


def _check_time(t: float) -> None:
    if not 0 < t <= 1:
        raise UsageError(f"a noise level is a time in (0, 1], not {t}")


def _shape(picture: Tensor) -> tuple[int, int, int]:
    _, c, h, w = picture.shape
    return (c, h, w)

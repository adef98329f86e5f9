"""A text-to-image model that needs no training: it knows a handful of drawn pictures by their prompts.

What it answers is the exact mean of its pictures under noise, the ideal denoiser of its data set: with x_t =
alpha x0 + sigma eps the posterior weight of picture i is softmax_i(-||x_t - alpha x_i||^2 / (2 sigma^2)).
"""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from sfumato.core.frame import Condition, Prompt
from sfumato.core.schedule import Flow
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.model import Model
from toys import AsTheyAre

SIDE, EACH = 16, 6


def pictures_of(prompt: str) -> Tensor:
    """Six pictures, (6, 3, 16, 16): discs, bars or rings, placed and coloured by the prompt."""
    generator = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
    kind = int(torch.randint(3, (1,), generator=generator))
    ink, paper = torch.rand((2, 3, 1, 1), generator=generator) * 2 - 1
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    out = []
    for _ in range(EACH):
        cy, cx = torch.rand(2, generator=generator) - 0.5
        distance = ((y - cy) ** 2 + (x - cx) ** 2).sqrt()
        inside = [distance < 0.5, (y - cy).abs() < 0.25, (distance - 0.5).abs() < 0.2][kind]
        out.append(torch.where(inside, ink, paper))
    return torch.stack(out)


class Drawn(Model):
    """Answers any prompt; without one, any of the pictures that it has drawn so far for `known`."""

    def __init__(self, known: Sequence[str] = ("a disc", "a bar", "a ring")) -> None:
        super().__init__(
            self._answer,
            name="drawn",
            schedule=Flow(),
            prediction="x0",
            shape=(3, SIDE, SIDE),
            conditioner=AsTheyAre(),
            defaults=SamplingDefaults(steps=4, guidance=2.0),
        )
        self.known = tuple(known)

    def _answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t)
        rows = []
        for row, a, s, condition in zip(x, alpha, sigma, conditions, strict=True):
            prompts = [condition.text] if isinstance(condition, Prompt) else self.known
            data = torch.cat([pictures_of(prompt) for prompt in prompts])
            distance = (row - a * data).square().sum((1, 2, 3))
            share = torch.softmax(-distance / (2 * s.clamp(min=1e-3) ** 2), dim=0)
            rows.append((share[:, None, None, None] * data).sum(0))
        return torch.stack(rows)

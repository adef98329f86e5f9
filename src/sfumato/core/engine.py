"""The engine: every question that is open, answered in as few forward passes as there can be.

Contract with a network (`Denoiser`): x (N, C, H, W) float32 on the engine's device, t (N,) in [0, 1], one
condition per row; it answers an Estimate of N rows, float32. Rows are independent of one another: that is
what lets pictures, branches, steps and requests share a forward pass.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from sfumato.core.frame import Answers, Condition, Key, Query
from sfumato.core.prediction import Estimate
from sfumato.errors import SfumatoError, UsageError

NOT_FINITE = (
    "the network answered with values that are not finite: use float32 (float16 overflows, on a CPU above "
    "all), or check its weights"
)

# What the sampler is: it yields the questions of a step, receives the answers, returns the pictures.
Asking = Generator[Sequence[Query], Answers, Tensor]


class Denoiser(Protocol):
    """A network that answers with its estimate of x0."""

    def denoise(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Estimate:
        """x (N, C, H, W), t (N,), N conditions -> the estimate of x0, N rows."""


@runtime_checkable
class Upscaler(Protocol):
    """A network that is shown low-resolution pictures beside x."""

    def denoise_beside(
        self, x: Tensor, t: Tensor, conditions: Sequence[Condition], picture: Tensor, picture_t: Tensor
    ) -> Estimate:
        """As `denoise`, with pictures (N, C', H, W) noised to picture_t (N,) (see frame.Beside)."""


@dataclass
class Count:
    """What the engine has done."""

    rows: int = 0
    forwards: int = 0


class Engine:
    """Groups the rows of all open questions by network and runs them in chunks of at most `max_rows`."""

    def __init__(
        self, model: Denoiser, networks: Mapping[str, Denoiser] | None = None, *, max_rows: int = 64
    ) -> None:
        """`model` answers the questions that name no network, `networks` those that name one."""
        if max_rows < 1:
            raise UsageError(f"max_rows must be 1 or more, not {max_rows}")
        self.model = model
        self.networks = dict(networks or {})
        self.max_rows = max_rows
        self.count = Count()

    def answer(self, queries: Sequence[Query]) -> list[Estimate]:
        """The estimates for these queries, in their order."""
        answers: dict[int, Estimate] = {}
        groups: dict[tuple[str | None, torch.Size, bool], list[int]] = {}
        for i, query in enumerate(queries):
            group = (query.network, query.x.shape[1:], query.beside is None)
            groups.setdefault(group, []).append(i)
        for (network, *_), members in groups.items():
            asked = [queries[i] for i in members]
            answers.update(zip(members, self._forward(self._network(network), asked), strict=True))
        return [answers[i] for i in range(len(queries))]

    def _network(self, name: str | None) -> Denoiser:
        if name is None:
            return self.model
        if name not in self.networks:
            names = ", ".join(sorted(self.networks)) or "none beside the model"
            raise UsageError(f"the expression asks a network named {name!r}; the run has {names}")
        return self.networks[name]

    def _forward(self, network: Denoiser, group: Sequence[Query]) -> list[Estimate]:
        sizes = [len(query.x) for query in group]
        x = torch.cat([query.x for query in group])  #                                     (R, C, H, W)
        t = torch.tensor([query.t for query in group], device=x.device).repeat_interleave(
            torch.tensor(sizes, device=x.device)
        )  #                                                                               (R,)
        conditions = [query.condition for query in group for _ in range(len(query.x))]
        beside = _beside(group, x.device)
        parts = []
        for start in range(0, len(x), self.max_rows):
            rows = slice(start, start + self.max_rows)
            if beside is None:
                parts.append(network.denoise(x[rows], t[rows], conditions[rows]))
            elif isinstance(network, Upscaler):
                pictures, times = (part[rows] for part in beside)
                parts.append(network.denoise_beside(x[rows], t[rows], conditions[rows], pictures, times))
            else:
                raise UsageError("this network does not upscale: it takes no low-resolution picture")
            self.count.forwards += 1
        self.count.rows += len(x)
        x0s = torch.split(torch.cat([part.x0 for part in parts]), sizes)
        variances = [part.variance for part in parts if part.variance is not None]
        if not variances:
            return [Estimate(x0=x0) for x0 in x0s]
        split = torch.split(torch.cat(variances), sizes)
        return [Estimate(x0=x0, variance=v) for x0, v in zip(x0s, split, strict=True)]

    def run(self, *samplers: Asking) -> list[Tensor]:
        """Run samplers to their ends, each at its own step, their questions answered together."""
        results: dict[int, Tensor] = {}
        open_: dict[int, tuple[Asking, Sequence[Query]]] = {}
        for i, sampler in enumerate(samplers):
            _advance(i, sampler, None, open_, results)
        while open_:
            turn = list(open_.items())
            queries = [query for _, (_, asked) in turn for query in asked]
            estimates = iter(self.answer(queries))
            for i, (sampler, asked) in turn:
                answers = {query.key: next(estimates) for query in asked}
                _advance(i, sampler, answers, open_, results)
        return [results[i] for i in range(len(samplers))]


def _beside(group: Sequence[Query], device: torch.device) -> tuple[Tensor, Tensor] | None:
    """The rows' low-resolution pictures, (R, C', H, W), and their times, (R,); None without them."""
    shown = [query.beside for query in group if query.beside is not None]
    if not shown:
        return None
    times = [beside.t for beside in shown for _ in range(len(beside.picture))]
    return torch.cat([beside.picture for beside in shown]), torch.tensor(times, device=device)


def _advance(
    i: int,
    sampler: Asking,
    answers: dict[Key, Estimate] | None,
    open_: dict[int, tuple[Asking, Sequence[Query]]],
    results: dict[int, Tensor],
) -> None:
    """Take one sampler to its next questions, or to its end; answers that are not finite fail it."""
    try:
        if answers is None:
            open_[i] = (sampler, next(sampler))
        elif all(bool(torch.isfinite(e.x0).all()) for e in answers.values()):
            open_[i] = (sampler, sampler.send(answers))
        else:
            open_[i] = (sampler, sampler.throw(SfumatoError(NOT_FINITE)))
    except StopIteration as end:
        open_.pop(i, None)
        results[i] = end.value

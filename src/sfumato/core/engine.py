"""The engine: it answers all open queries in as few forward passes as there can be.

Contract with a network (`Denoiser`): x (N, C, H, W) float32 on the engine's device, t (N,) in [0, 1], one
condition per row; it answers an Estimate of N rows, float32. Rows are independent of one another: that is
what lets pictures, branches, steps and requests share a forward pass.
"""

from collections.abc import Collection, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sfumato.core.frame import Answers, Condition, Key, LowResolution, Query
from sfumato.core.prediction import Estimate
from sfumato.errors import SfumatoError, UsageError

NOT_FINITE = (
    "the network answered with values that are not finite: use float32 (float16 overflows, on a CPU above "
    "all), or check its weights"
)

# A sampler: it yields the queries of a step, receives their answers, and returns the pictures.
SamplerCoroutine = Generator[Sequence[Query], Answers, Tensor]


class Denoiser(Protocol):
    """A network that answers with its estimate of x0."""

    def denoise(
        self, x: Tensor, t: Tensor, conditions: Sequence[Condition], low: LowResolution | None = None
    ) -> Estimate:
        """x (N, C, H, W), t (N,), N conditions -> the estimate of x0, N rows.

        low: the low-resolution pictures of a network that upscales, N rows with their times (N,). A network
        that does not upscale refuses them.
        """


@dataclass
class Count:
    """What the engine has done."""

    rows: int = 0
    forwards: int = 0


class Engine:
    """Groups the rows of all open queries by network and runs them in chunks of at most `max_rows`."""

    def __init__(
        self, model: Denoiser, networks: Mapping[str, Denoiser] | None = None, *, max_rows: int = 64
    ) -> None:
        """`model` answers the queries that name no network, `networks` those that name one."""
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
            group = (query.network, query.x.shape[1:], query.low_resolution is None)
            groups.setdefault(group, []).append(i)
        for (network, *_), members in groups.items():
            group_queries = [queries[i] for i in members]
            answers.update(zip(members, self._forward(self._network(network), group_queries), strict=True))
        return [answers[i] for i in range(len(queries))]

    def _network(self, name: str | None) -> Denoiser:
        if name is None:
            return self.model
        if name not in self.networks:
            names = ", ".join(sorted(self.networks)) or "none beside the model"
            raise UsageError(f"the expression asks a network {name!r}; the run has {names}")
        return self.networks[name]

    def _forward(self, network: Denoiser, group: Sequence[Query]) -> list[Estimate]:
        sizes = [len(query.x) for query in group]
        x = torch.cat([query.x for query in group])  #                                     (R, C, H, W)
        t = torch.tensor([query.t for query in group], device=x.device).repeat_interleave(
            torch.tensor(sizes, device=x.device)
        )  #                                                                               (R,)
        conditions = [condition for query in group for condition in query.conditions]
        low = _low_resolution(group, x.device)
        parts = []
        for start in range(0, len(x), self.max_rows):
            rows = slice(start, start + self.max_rows)
            if low is None:
                parts.append(network.denoise(x[rows], t[rows], conditions[rows]))
            else:
                parts.append(network.denoise(x[rows], t[rows], conditions[rows], low.rows(rows)))
            self.count.forwards += 1
        self.count.rows += len(x)
        x0s = torch.split(torch.cat([part.x0 for part in parts]), sizes)
        variances = [part.variance for part in parts if part.variance is not None]
        if not variances:
            return [Estimate(x0=x0) for x0 in x0s]
        split = torch.split(torch.cat(variances), sizes)
        return [Estimate(x0=x0, variance=v) for x0, v in zip(x0s, split, strict=True)]

    def run(self, *samplers: SamplerCoroutine) -> list[Tensor]:
        """Run samplers to their ends, each at its own step; the first that fails ends them all."""
        running = Running(self)
        results: dict[Hashable, Tensor] = {}
        try:
            for i, sampler in enumerate(samplers):
                running.join(i, sampler)
            while len(results) < len(samplers):
                for name, outcome in running.turn().items():
                    results[name] = outcome.result()
        finally:
            running.clear()
        return [results[i] for i in range(len(samplers))]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """How a sampler ended: with its pictures, or by an error of its own."""

    pictures: Tensor | None = None
    error: Exception | None = None

    def result(self) -> Tensor:
        """The pictures; raises the error where there is one."""
        if self.error is not None:
            raise self.error
        assert self.pictures is not None
        return self.pictures


class Running:
    """Samplers in flight, each at its own step. They join and leave between turns; a turn answers once.

    A fault of one sampler, or of its queries, ends that sampler alone: where a shared forward pass raises,
    the queries of each sampler are answered by themselves, to find the faulty ones.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._open: dict[Hashable, tuple[SamplerCoroutine, Sequence[Query]]] = {}
        self._ended: dict[Hashable, Outcome] = {}

    def __len__(self) -> int:
        return len(self._open)

    def rows_of(self, name: Hashable) -> int:
        """The rows of a sampler in the next turn; 0 where it has ended."""
        return sum(len(query.x) for query in self._open[name][1]) if name in self._open else 0

    def join(self, name: Hashable, sampler: SamplerCoroutine) -> None:
        """Begin a sampler: it runs up to its first queries; what it raises on the way is raised here."""
        try:
            self._open[name] = (sampler, next(sampler))
        except StopIteration as end:
            self._ended[name] = Outcome(pictures=end.value)

    def leave(self, name: Hashable) -> None:
        """Drop a sampler where it stands; nothing happens where there is none of this name."""
        self._ended.pop(name, None)
        left = self._open.pop(name, None)
        if left is not None:
            left[0].close()

    def clear(self) -> None:
        """Drop all samplers."""
        for name in list(self._open):
            self.leave(name)

    def turn(self, names: Collection[Hashable] | None = None) -> dict[Hashable, Outcome]:
        """Answer the queries of these samplers, or of all, and take them on; returns what has ended."""
        for name, (sampler, _), answers in self._answered(self._open if names is None else names):
            if isinstance(answers, Exception):
                self._throw(name, sampler, answers)
            elif all(bool(torch.isfinite(e.x0).all()) for e in answers.values()):
                self._advance(name, sampler, answers)
            else:
                self._throw(name, sampler, SfumatoError(NOT_FINITE))
        ended, self._ended = self._ended, {}
        return ended

    def _answered(
        self, names: Collection[Hashable]
    ) -> list[tuple[Hashable, tuple[SamplerCoroutine, Sequence[Query]], dict[Key, Estimate] | Exception]]:
        """Open samplers with the answers to their queries, or with the error that their queries raised."""
        turn = [(name, open_) for name, open_ in self._open.items() if name in names]
        together = [query for _, (_, queries) in turn for query in queries]
        try:
            estimates = iter(self.engine.answer(together))
        except Exception as error:
            if len(turn) == 1:
                return [(*turn[0], error)]
            return [(name, (sampler, queries), self._alone(queries)) for name, (sampler, queries) in turn]
        return [
            (name, (sampler, queries), {query.key: next(estimates) for query in queries})
            for name, (sampler, queries) in turn
        ]

    def _alone(self, queries: Sequence[Query]) -> dict[Key, Estimate] | Exception:
        """The answers to the queries of one sampler, or the error that they raised."""
        try:
            return {q.key: e for q, e in zip(queries, self.engine.answer(queries), strict=True)}
        except Exception as error:
            return error

    def _advance(self, name: Hashable, sampler: SamplerCoroutine, answers: dict[Key, Estimate]) -> None:
        """Take a sampler to its next queries, or to its end."""
        try:
            queries = sampler.send(answers)
        except StopIteration as end:
            self._end(name, Outcome(pictures=end.value))
        except Exception as error:
            self._end(name, Outcome(error=error))
        else:
            self._open[name] = (sampler, queries)

    def _throw(self, name: Hashable, sampler: SamplerCoroutine, error: Exception) -> None:
        """End a sampler by an error, raised where it waits so that it can tidy up."""
        try:
            sampler.throw(error)
        except StopIteration:  # it swallowed the error
            self._end(name, Outcome(error=error))
        except Exception as raised:
            self._end(name, Outcome(error=raised))
        else:
            sampler.close()
            self._end(name, Outcome(error=error))

    def _end(self, name: Hashable, outcome: Outcome) -> None:
        self._open.pop(name, None)
        self._ended[name] = outcome


def _low_resolution(group: Sequence[Query], device: torch.device) -> LowResolution | None:
    """The low-resolution pictures of all rows, (R, C', H, W), with their times, (R,); None without them."""
    given = [query.low_resolution for query in group if query.low_resolution is not None]
    if not given:
        return None
    times = [low.t for low in given for _ in range(len(low.picture))]
    return LowResolution(
        picture=torch.cat([low.picture for low in given]), t=torch.tensor(times, device=device)
    )

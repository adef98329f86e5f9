"""The pictures and the random inputs of each step.

Contract: both follow from (seed, step) alone. They are drawn for the whole global batch, of which each
process takes its share. So one process and several train alike, and a resumed run needs no generator state.
"""

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.training.data import Dataset, to_house_range
from sfumato.training.objective import DROPPED, Objective, RandomInputs
from sfumato.training.presets import Augment, Preset


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that differs whenever a part does."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _generator(*parts: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(*parts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One process's share of a global batch, on its device; the random inputs are still on the CPU."""

    x0: Tensor  # (b, C, H, W) float32 in [-1, 1]
    condition: Tensor  # (b,) int64
    random: RandomInputs


class Batches:
    """The batches of a training, by step number.

    Args:
        data, preset, seed: what the batches follow from.
        device: where the pictures are kept.
        rank, processes: this process and how many there are.

    Raises:
        UsageError: fewer pictures than one batch, or fewer rows in a batch than processes.
    """

    def __init__(
        self,
        data: Dataset,
        preset: Preset,
        *,
        seed: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.per_epoch = data.per_epoch // preset.batch
        if self.per_epoch == 0:
            raise UsageError(
                f"{data.name} has {data.per_epoch} pictures, fewer than one batch of {preset.batch}"
            )
        if preset.batch < processes:
            raise UsageError(f"a batch of {preset.batch} cannot be shared among {processes} processes")
        self._objective: Objective = preset.objective
        self._augment = preset.augment
        self._batch, self._seed, self._shape, self._ordered = preset.batch, seed, data.shape, data.order
        self._pictures = data.pictures.to(device)
        self._conditions = data.conditions if preset.conditional else _none
        self._shown = data.shown
        self._start, self._stop = rank * preset.batch // processes, (rank + 1) * preset.batch // processes
        self._order: tuple[int, Tensor] | None = None

    def at(self, step: int) -> Batch:
        """The share of step number `step`, counted from 0."""
        epoch, position = divmod(step, self.per_epoch)
        first = position * self._batch
        rows = self._permutation(epoch)[first : first + self._batch]
        conditions = self._conditions(rows, _generator(self._seed, "conditions", step))
        generator = _generator(self._seed, "step", step)
        random = self._objective.draw((self._batch, *self._shape), generator)
        mine, device = slice(self._start, self._stop), self._pictures.device
        x0 = to_house_range(self._pictures[rows[mine].to(device)])  # (b, C, H, W)
        x0 = self._shown(x0, conditions[mine])
        moves = _Moves.draw(self._augment, self._batch, generator)
        return Batch(
            x0=moves.apply(x0, self._start, self._stop),
            condition=conditions[mine].to(device),
            random=random.rows(self._start, self._stop),
        )

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._ordered(_generator(self._seed, "epoch", epoch)))
        return self._order[1]


def _none(rows: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    return torch.full_like(rows, DROPPED)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moves:
    """The augmentation of a global batch."""

    reach: int
    offset: Tensor | None  # (B, 2) down and right, 0 .. 2 reach; reach is no shift
    mirrored: Tensor | None  # (B,) bool

    @classmethod
    def draw(cls, augment: Augment, count: int, generator: torch.Generator) -> "_Moves":
        offset = mirrored = None
        if augment.shift:
            offset = torch.randint(0, 2 * augment.shift + 1, (count, 2), generator=generator)
        if augment.mirror:
            mirrored = torch.rand(count, generator=generator) < 0.5
        return cls(reach=augment.shift, offset=offset, mirrored=mirrored)

    def apply(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Rows start..stop of the batch, moved."""
        if self.mirrored is not None:
            mirrored = self.mirrored[start:stop].to(x.device).view(-1, 1, 1, 1)
            x = torch.where(mirrored, x.flip(-1), x)
        if self.offset is not None:
            height, width = x.shape[-2:]
            offset = self.offset[start:stop].to(x.device)
            padded = F.pad(x, (self.reach,) * 4, mode="replicate")
            down = torch.arange(height, device=x.device) + offset[:, :1]  # (b, H)
            right = torch.arange(width, device=x.device) + offset[:, 1:]  # (b, W)
            row = torch.arange(len(x), device=x.device).view(-1, 1, 1)
            x = padded.movedim(1, -1)[row, down[:, :, None], right[:, None, :]].movedim(-1, 1)
        return x

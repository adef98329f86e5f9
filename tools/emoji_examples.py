"""What the classifier of emoji learns from: icons, drawings of the model, and pictures that show nothing.

Contract: class k < K is concept k; class K is "none". A row below the number of icons is an icon, any further
row a plain drawing of the model. What a row shows is drawn anew each time: as it is, or spoiled in one of the
ways of `SHARES`; where that way would leave it readable, it stays as it is. Mirror images keep their class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sfumato.training.data import to_house_range
from sfumato.training.emoji import EmojiDataset
from tools.generated import Generated
from tools.negatives import CLEAR, Moves, blended, cropped, difference, hybrid, ink, turned

# How often each way is tried; about a quarter of all pictures then shows nothing
SHARES: Mapping[str, float] = {
    "turned": 0.1,
    "blended": 0.08,
    "hybrid": 0.06,
    "cropped": 0.03,
    "failed": 0.05,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """The icons, what may be done with each, and the model's drawings."""

    data: EmojiDataset
    moves: Moves
    generated: Generated

    def __len__(self) -> int:
        return len(self.data) + len(self.generated.plain)

    @property
    def none(self) -> int:
        """The class of what shows no concept."""
        return len(self.data.concepts)

    @cached_property
    def concept(self) -> Tensor:
        """What each row shows, (N,)."""
        return torch.cat([self.data.concept, self.generated.concept])

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, H, W) in [-1, 1] of rows (B,), some of them spoiled, and their classes (B,)."""
        x, y = self.upright(rows, generator), self.concept[rows]
        way = self.ways(len(rows), generator)
        for i, name in enumerate(SHARES):
            chosen = (way == i).nonzero().flatten()
            if len(chosen):
                x[chosen], y[chosen] = self.spoiled(name, rows[chosen], x[chosen], generator)
        return x, y

    def ways(self, count: int, generator: torch.Generator) -> Tensor:
        """How each picture is spoiled, an index of `SHARES`; where it is not, a larger number, (count,)."""
        limits = torch.tensor(list(SHARES.values())).cumsum(0)
        return torch.searchsorted(limits, torch.rand(count, generator=generator), right=True)

    def upright(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The pictures of rows (B,), half of those that may be mirrored."""
        icons = len(self.data)
        is_icon = rows < icons
        x = torch.empty(len(rows), *self.data.pictures.shape[1:])
        x[is_icon] = to_house_range(self.data.pictures[rows[is_icon]])
        x[~is_icon] = to_house_range(self.generated.plain[rows[~is_icon] - icons])
        mirrored = is_icon & self.moves.mirrored[rows.clamp_max(icons - 1)]
        mirrored &= torch.rand(len(rows), generator=generator) < 0.5
        x[mirrored] = x[mirrored].flip(-1)
        return x

    def spoiled(
        self, name: str, rows: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The pictures x of rows (B,), spoiled in one way where they can be, and their classes (B,)."""
        y = self.concept[rows]
        if name == "failed":
            failures = self.generated.failures
            picked = torch.randint(0, len(failures), (len(rows),), generator=generator)
            return to_house_range(failures[picked]), torch.full_like(y, self.none)
        if name == "cropped":
            return cropped(x, generator), torch.full_like(y, self.none)
        if name == "turned":
            return self._turned(rows, x, generator)
        others = torch.randint(0, len(self), (len(rows),), generator=generator)
        other = self.upright(others, generator)
        unlike = (self.concept[others] != y) & (difference(ink(x), ink(other)) > CLEAR)
        if name == "blended":
            made, shown = blended(x, other, generator), torch.full_like(y, self.none)
        else:
            made, is_near = hybrid(x, other, generator)
            shown = torch.where(is_near, y, self.none)
        return torch.where(unlike[:, None, None, None], made, x), torch.where(unlike, shown, y)

    def _turned(self, rows: Tensor, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """After one of the turns that leave nothing of it; a picture that has none stays."""
        icons = len(self.data)
        lost = self.moves.turned[rows.clamp_max(icons - 1)] & (rows < icons)[:, None]  # (B, 2)
        kind = torch.rand(lost.shape, generator=generator).masked_fill(~lost, -1).argmax(1)
        is_lost = lost.any(1)
        x = torch.where(is_lost[:, None, None, None], turned(x, kind, generator), x)
        return x, torch.where(is_lost, self.none, self.concept[rows])

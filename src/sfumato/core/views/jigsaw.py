"""The jigsaw: 4 x 4 interlocking pieces, cut from a seed, that change places with their like.

A quarter turn of the whole board maps the cut onto itself, and along the rim all borders are alike. So there
are three borders to draw: between rim pieces, between rim and inner pieces, between inner pieces; and three
kinds of congruent pieces: 4 corners, 8 edges, 4 inner ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.core.named import whole
from sfumato.core.views.base import Permutation, cell_size, shuffled, square

GRID = 4


class Slot(NamedTuple):
    """A place on the board: its cell, and the clockwise quarter turns that bring a piece of the top there."""

    row: int
    column: int
    turns: int


class Tab(NamedTuple):
    """The knob of a border, in fractions of a cell."""

    outward: bool  #    to the right or downward, where the border is one of the top
    middle: float  #    along the border
    radius: float  #    of the head

    def stamp(self, side: int) -> Tensor:
        """Which pixels of a neighbour's cell the tab takes: (depth, along) bool, depth 0 at the border."""
        depth = ((torch.arange(side, dtype=torch.float64) + 0.5) / side).unsqueeze(1)
        along = (torch.arange(side, dtype=torch.float64) + 0.5) / side - self.middle
        centre = 1.2 * self.radius
        head = (depth - centre) ** 2 + along**2 <= self.radius**2
        flare = (1 - depth / 0.06).clamp(min=0) ** 2  # widens the neck where it leaves the piece
        neck = (depth <= centre) & (along.abs() <= self.radius * (0.5 + 0.5 * flare))
        return head | neck


@dataclass(frozen=True, kw_only=True)
class Jigsaw(Permutation):
    """4 x 4 jigsaw pieces; every piece moves to another place of its kind and turns to fit there.

    The seed draws the tabs and the places. The side is a multiple of 4. The cut is drawn at the picture's own
    resolution: at 64 and at 256 it differs only along the cut.
    """

    name = "jigsaw"
    description = "jigsaw pieces that change places with their like"

    seed: int = 0

    def __post_init__(self) -> None:
        whole(self.seed, "seed of the view jigsaw", 0)

    def index(self, height: int, width: int) -> Tensor:
        side = square(self, height, width)
        cell, _ = cell_size(self, height, width, GRID, GRID)
        piece = self.pieces(side)
        y, x = torch.arange(side).unsqueeze(1), torch.arange(side)  #       (S, 1), (S,)
        source = torch.empty(side, side, dtype=torch.int64)
        for to, come in self.moves().items():
            # Twice the offset from the middle of the cell, turned as the piece is, from the other's middle.
            dy = (2 * y + 1 - (2 * to.row + 1) * cell).expand(side, side)
            dx = (2 * x + 1 - (2 * to.column + 1) * cell).expand(side, side)
            for _ in range((come.turns - to.turns) % 4):
                dy, dx = dx, -dy  # a quarter turn clockwise
            from_y = (dy + (2 * come.row + 1) * cell - 1) // 2
            from_x = (dx + (2 * come.column + 1) * cell - 1) // 2
            inside = piece == to.row * GRID + to.column
            source[inside] = (from_y * side + from_x)[inside]
        return source

    def moves(self) -> dict[Slot, Slot]:
        """For every place on the board the place that its piece comes from: one cycle within each kind."""
        rng = random.Random(f"places {self.seed}")
        moves: dict[Slot, Slot] = {}
        for kind in KINDS:
            cycle = [kind[i] for i in shuffled(len(kind), rng)]
            moves.update(zip(cycle, cycle[1:] + cycle[:1], strict=True))
        return moves

    def pieces(self, side: int) -> Tensor:
        """Which piece each pixel belongs to: (S, S) int64 of row * 4 + column."""
        cell = side // GRID
        cells = torch.arange(GRID * GRID).view(GRID, GRID)
        piece = cells.repeat_interleave(cell, 0).repeat_interleave(cell, 1)  #      (S, S)
        turned = torch.cat([cells.rot90(-1).flatten().argsort(), torch.tensor([-1])])  # last: no tab here
        tabs = self._tabs_of_the_top(side)
        for _ in range(4):
            piece = torch.where(tabs >= 0, tabs, piece)
            tabs = turned[tabs.rot90(-1)]
        return piece

    def _tabs_of_the_top(self, side: int) -> Tensor:
        """The owners of the tabs of one quarter of the borders, (S, S); -1 where there is no tab."""
        rim, spoke, core = self._borders()
        owners = torch.full((side, side), -1)
        for column in range(GRID - 1):
            _cut(owners, rim, 0, column, side // GRID)
        for column in (1, 2):
            # The border under a cell is the border right of a cell on the transposed board.
            _cut(owners.T, spoke, column, 0, side // GRID, transposed=True)
        _cut(owners, core, 1, 1, side // GRID)
        return owners

    def _borders(self) -> tuple[Tab, Tab, Tab]:
        rng = random.Random(f"tabs {self.seed}")
        tabs = [
            Tab(rng.random() < 0.5, 0.5 + 0.1 * (rng.random() - 0.5), 0.13 + 0.02 * rng.random())
            for _ in range(3)
        ]
        return tabs[0], tabs[1], tabs[2]


def _cut(owners: Tensor, tab: Tab, row: int, column: int, cell: int, *, transposed: bool = False) -> None:
    """Write one tab on the border between a cell and its right neighbour into the (S, S) map of owners."""
    stamp = tab.stamp(cell).T  #                                    (along, depth)
    x = (column + 1) * cell
    rows = slice(row * cell, (row + 1) * cell)
    columns = slice(x, x + cell) if tab.outward else slice(x - cell, x)
    owner = (row, column if tab.outward else column + 1)
    number = owner[1] * GRID + owner[0] if transposed else owner[0] * GRID + owner[1]
    owners[rows, columns][stamp if tab.outward else stamp.flip(1)] = number


def _orbit(row: int, column: int) -> list[Slot]:
    """The four places that a quarter turn of the board after another brings a place to."""
    places = []
    for turns in range(4):
        places.append(Slot(row, column, turns))
        row, column = column, GRID - 1 - row
    return places


KINDS = (_orbit(0, 0), _orbit(0, 1) + _orbit(0, 2), _orbit(1, 1))  # corners, edges, inner pieces

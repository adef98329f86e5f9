"""Pictures that show none of the concepts, made out of icons: what a failed illusion looks like.

Contract: pictures are (N, 3, S, S) float in [-1, 1], white where there is no ink. All random numbers come
from the given CPU generator. The difference of two pictures is the mean absolute difference of their pixels,
reduced to `REDUCED` a side, as a share of their ink: sum |a - b| / sum (a + b) with ink a = (1 - x) / 2.
It is 0 for equal pictures and 1 for those that have no ink in common. A mirror image shows what the picture
shows, so pictures are compared with both.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.training.data import to_house_range
from sfumato.training.emoji import EmojiDataset
from tools.augment import blurred

Move = Callable[[Tensor], Tensor]

REDUCED = 16
# A turned picture shows nothing where it differs by CLEAR from all pictures of its concept. By eye: half
# turns of a potato, a tomato or a face differ by up to .2, those of an animal or a person by .3 and more.
CLEAR = 0.25
# It must also differ from the concept's other pictures by this factor more than the upright one does: styles
# draw a pen, or a slice of pizza, in several directions.
FARTHER = 1.1
# And no other concept's picture may be so near: "thumbs up" turned is "thumbs down".
SAME = 0.12
# A high pass on another's low pass shows its own concept where it has at least this share of its contrast.
STRONG = 0.5

TURNS: Mapping[str, tuple[Move, Move]] = {
    "half": (lambda x: x.flip(-2), lambda x: x.rot90(2, (-2, -1))),
    "quarter": (lambda x: x.rot90(1, (-2, -1)), lambda x: x.rot90(-1, (-2, -1))),
}
SIDEWAYS: tuple[Move, ...] = tuple(move for pair in TURNS.values() for move in pair)


def ink(x: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) -> their ink (N, 3, REDUCED, REDUCED) in [0, 1]."""
    return (1 - F.adaptive_avg_pool2d(x, REDUCED)) / 2


def difference(one: Tensor, other: Tensor) -> Tensor:
    """The differences (...) of inks (..., 3, R, R), which broadcast; a mirrored picture is another here."""
    part, whole = (one - other).abs().sum((-3, -2, -1)), (one + other).sum((-3, -2, -1))
    return part / whole.clamp_min(1e-6)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moves:
    """What may be done with each picture of a data set of N.

    turned    (N, 2): whether the picture, or its mirror image, shows nothing after each of `TURNS`
    mirrored  (N,): whether the mirror image shows what the picture does, and not a twin ("pointing left")
    """

    turned: Tensor
    mirrored: Tensor


def moves_of(data: EmojiDataset) -> Moves:
    """What may be done with the pictures of a data set, by the rules at the top of this file."""
    inks = torch.cat([ink(to_house_range(part)) for part in torch.split(data.pictures, 1000)])
    turned, mirrored = torch.zeros(len(data), len(TURNS), dtype=torch.bool), torch.zeros(len(data)).bool()
    for rows in _stretches(data.concept):
        turned[rows] = torch.stack([_is_lost(inks[rows], turn) for turn in TURNS.values()], dim=1)
    for rows in _stretches(data.style):
        own, concept = inks[rows], data.concept[rows]
        mirrored[rows] = ~_shows_another(own.flip(-1), own, concept)
        both = torch.cat([own, own.flip(-1)])
        for i, turn in enumerate(TURNS.values()):
            for move in turn:
                turned[rows, i] &= ~_shows_another(move(own), both, concept)
    return Moves(turned=turned, mirrored=mirrored)


def _stretches(numbers: Tensor) -> Iterator[Tensor]:
    """The rows of each number."""
    order = numbers.argsort(stable=True)
    _, counts = numbers[order].unique_consecutive(return_counts=True)
    for start, stop in pairwise([0, *counts.cumsum(0).tolist()]):
        yield order[start:stop]


def _is_lost(own: Tensor, turn: tuple[Move, Move]) -> Tensor:
    """Whether the pictures of one concept, inks (N, 3, R, R), show it no longer after a turn, (N,)."""
    count = len(own)
    both = torch.cat([own, own.flip(-1)])[None]
    itself = torch.eye(count, dtype=torch.bool).repeat(1, 2)
    upright = difference(own[:, None], both).masked_fill(itself, torch.inf).amin(1)
    lost = torch.ones(count, dtype=torch.bool)
    for move in turn:
        apart = difference(move(own)[:, None], both)  # (N, 2 N)
        lost &= apart.amin(1) > CLEAR
        if count > 1:
            lost &= apart.masked_fill(itself, torch.inf).amin(1) > FARTHER * upright
    return lost


def _shows_another(moved: Tensor, there: Tensor, concept: Tensor) -> Tensor:
    """Whether inks (N, 3, R, R) of these concepts (N,) are the `SAME` as one of another concept in `there`,
    whose inks repeat those concepts. Only the four nearest in squares are compared.
    """
    apart = torch.cdist(moved.flatten(1), there.flatten(1))  # (N, M)
    own = concept[:, None] == concept.repeat(len(there) // len(concept))
    near = apart.masked_fill(own, torch.inf).topk(min(4, len(there)), largest=False)
    found = difference(moved[:, None], there[near.indices]).masked_fill(near.values.isinf(), torch.inf)
    return found.amin(1) <= SAME


def turned(x: Tensor, kind: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture after one move of its kind of turn (N,), which is an index of `TURNS`."""
    which = 2 * kind + torch.randint(0, 2, (len(x),), generator=generator)
    return _moved(x, which)


def blended(x: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """The mean of two pictures, weights .4 to .6; the second is turned in half of them."""
    weight = 0.4 + 0.2 * torch.rand(len(x), 1, 1, 1, generator=generator)
    which = torch.randint(-len(SIDEWAYS), len(SIDEWAYS), (len(x),), generator=generator)
    return weight * x + (1 - weight) * _moved(other, which)


def hybrid(near: Tensor, far: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The high pass of one picture on the low pass of another, and whether it shows the near one, (N,)."""
    sigma = 1.5 + 3.5 * torch.rand(len(near), generator=generator)
    low, high = blurred(far, sigma), near - blurred(near, sigma)
    contrast = [part.flatten(1).std(1, correction=0) for part in (high, low)]
    return (low + high).clamp(-1, 1), contrast[0] >= STRONG * contrast[1]


def cropped(x: Tensor, generator: torch.Generator) -> Tensor:
    """A part of each picture, a quarter to 45 hundredths of its side, enlarged."""
    size = 0.25 + 0.2 * torch.rand(len(x), generator=generator)
    matrix = torch.zeros(len(x), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = size
    matrix[:, :, 2] = (2 * torch.rand(len(x), 2, generator=generator) - 1) * (1 - size)[:, None]
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _moved(x: Tensor, which: Tensor) -> Tensor:
    """Each picture after a move of `SIDEWAYS`, by its index (N,); a negative one leaves it as it is."""
    x = x.clone()
    for i, move in enumerate(SIDEWAYS):
        rows = which == i
        x[rows] = move(x[rows])
    return x

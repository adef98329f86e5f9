"""How well illusions work, and which of many works best.

A picture with n readings has n looks, and look i should show prompt p_i. The expression says how to look:

    seen through a view   the picture through that view
    a low pass            from a distance: blurred by its sigma, reduced and enlarged again (`Distant`)
    a high pass           from near, as it is; from the distance of its sigma the prompt must not be seen yet
    a band pass           from the distance of its smaller sigma, and not yet from that of the larger

With P(p | x) of a reader, x_i the picture at look i, and y_ik where its prompt must not be seen yet:

    probability  P_i = P(p_i | x_i) prod_k (1 - P(p_i | y_ik))
    alignment    A = min_i P_i                       the weakest reading
    concealment  C = 1/n sum_i softmax_j(S_ij)_ii    how well looks are distinguished; 1/n is chance

with S_ij = log P(p_j | x_i), after Geng et al. 2024 (Visual Anagrams, sec. 4.1), who score with CLIP. A
softmax of log probabilities weighs the prompts as the reader does: it needs no temperature.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.core.expression import Ask, Clipped, Expression, Filtered, Guided, Seen, Sum
from sfumato.core.filters import Band, HighPass, LowPass
from sfumato.core.frame import Prompt
from sfumato.core.views import View
from sfumato.errors import UsageError
from sfumato.evaluation.reader import Reader, log_probability, ranks

WORKS = 0.5  # the least probability of a reading that counts as seen


@dataclass(frozen=True)
class Distant:
    """A picture from so far that nothing finer than sigma is seen, in pixels at a height of 64.

    It is blurred by sigma, reduced to one pixel for each sigma, and enlarged to its own size.
    """

    sigma: float

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, C, H, W) as they are seen from there."""
        height, width = x.shape[-2:]
        pixel = max(1.0, self.sigma * height / 64)
        small = [max(1, round(side / pixel)) for side in (height, width)]
        reduced = F.interpolate(LowPass(self.sigma).apply(x), size=small, mode="area")
        return F.interpolate(reduced, size=(height, width), mode="bilinear", align_corners=False)


Steps = tuple[View | Distant, ...]  # first to last


@dataclass(frozen=True, kw_only=True)
class Look:
    """One way to look at a picture, and the prompt that it should then show.

    hidden: ways to look at it that must not show the prompt.
    """

    text: str
    steps: Steps = ()
    hidden: tuple[Steps, ...] = ()

    def at(self, x: Tensor) -> Tensor:
        """The pictures (N, C, H, W) at this look, in [-1, 1]."""
        return _after(self.steps, x)

    def hidden_at(self, x: Tensor) -> list[Tensor]:
        """The pictures at each of the looks that must not show the prompt."""
        return [_after(steps, x) for steps in self.hidden]

    def through(self, step: View | Distant) -> Look:
        """This look with one more step."""
        hidden = tuple((*steps, step) for steps in self.hidden)
        return replace(self, steps=(*self.steps, step), hidden=hidden)

    def not_yet(self, step: Distant) -> Look:
        """This look, with the prompt hidden from that distance."""
        return replace(self, hidden=(*self.hidden, (*self.steps, step)))


def _after(steps: Steps, x: Tensor) -> Tensor:
    for step in steps:
        x = step.forward(x)
    return x.clamp(-1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The scores of N pictures with n readings, float64.

    alignment    (N,) in [0, 1]: the probability of the weakest reading
    concealment  (N,) in [0, 1]
    probability  (N, n): of each reading
    rank         (N, n): the place of the right prompt among all classes at its look; the first is 1
    """

    alignment: Tensor
    concealment: Tensor
    probability: Tensor
    rank: Tensor

    @property
    def works(self) -> Tensor:
        """(N,) bool: every reading has a probability of at least `WORKS`."""
        return self.alignment >= WORKS


def looks(expression: Expression) -> tuple[Look, ...]:
    """The looks at the pictures of an expression, one for each of its prompts.

    Raises:
        UsageError: the expression has no prompt, or a node that does not say how its parts should look.
    """
    found = tuple(dict.fromkeys(_looks(expression, Look(text=""))))
    if not found:
        raise UsageError("the expression has no prompt to judge its pictures by")
    return found


def _looks(e: Expression, so_far: Look) -> Iterator[Look]:
    match e:
        case Ask(Prompt(text)):
            yield replace(so_far, text=text)
        case Ask():
            return
        case Guided(child) | Clipped(child):
            yield from _looks(child, so_far)
        case Seen(child, view):
            yield from _looks(child, so_far.through(view))
        case Filtered(child, HighPass(sigma)):
            yield from _looks(child, so_far.not_yet(Distant(sigma)))
        case Filtered(child, LowPass(sigma)):
            yield from _looks(child, so_far.through(Distant(sigma)))
        case Filtered(child, Band(low, high)):
            yield from _looks(child, so_far.not_yet(Distant(high)).through(Distant(low)))
        case Sum(terms, weights):
            for term, weight in zip(terms, weights, strict=True):
                if weight > 0:
                    yield from _looks(term, so_far)
        case _:
            raise UsageError(
                f"{e.name} cannot be judged: only prompts, views and low, high and band passes can"
            )


def pick_best(
    reader: Reader, pictures: Tensor, expression: Expression, *, keep: int = 1
) -> tuple[list[int], Scores]:
    """The rows of the `keep` best pictures of an expression, best first, and the scores of all pictures.

    The best is the one whose weakest reading is most probable; of equal ones, that with the larger product.

    Raises:
        UsageError: `keep` is not in 1..N; or as `looks` and `score`.
    """
    if not 1 <= keep <= len(pictures):
        raise UsageError(f"keep {keep}: give a number from 1 to {len(pictures)}")
    scores = score(reader, pictures, looks(expression))
    readings = scores.probability.tolist()
    order = sorted(range(len(pictures)), key=lambda row: (-min(readings[row]), -math.prod(readings[row])))
    return order[:keep], scores


def score(reader: Reader, pictures: Tensor, seen: Sequence[Look]) -> Scores:
    """The scores of pictures (N, C, H, W) in [-1, 1] by their looks.

    Raises:
        UsageError: the reader does not know a prompt, or cannot read the pictures.
    """
    meanings = [reader.meaning(look.text) for look in seen]
    reads = [reader.log_probabilities(look.at(pictures)).double() for look in seen]  # n of (N, K)
    rows = [torch.stack([log_probability(read, m) for m in meanings], dim=1) for read in reads]
    s = torch.stack(rows, dim=1)  # (N, n, n)
    probability = s.diagonal(dim1=1, dim2=2).exp()  # (N, n)
    for i, (look, meaning) in enumerate(zip(seen, meanings, strict=True)):
        for early in look.hidden_at(pictures):
            known = log_probability(reader.log_probabilities(early).double(), meaning).exp()
            probability[:, i] *= (1 - known).clamp_min(0)
    return Scores(
        alignment=probability.amin(1),
        concealment=s.softmax(2).diagonal(dim1=1, dim2=2).mean(1),
        probability=probability,
        rank=torch.stack([ranks(read, m) for read, m in zip(reads, meanings, strict=True)], dim=1),
    )

"""How well illusions work, and which of many works best.

A picture with n readings has n looks x_i, and look i should show prompt p_i. The scores follow from
S_ij = log P(p_j | x_i) of a reader, after Geng et al. 2024 (Visual Anagrams, sec. 4.1), who score with CLIP:

    alignment    A = min_i S_ii                      the weakest reading; given as a probability, exp A
    concealment  C = 1/n sum_i softmax_j(S_ij)_ii    how well looks are told apart; 1/n is chance

A softmax of log probabilities weighs the prompts as the reader does: it needs no temperature.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.expression import Ask, Clipped, Expression, Filtered, Guided, Seen, Sum
from sfumato.core.filters import Band, Filter, HighPass, LowPass
from sfumato.core.frame import Prompt
from sfumato.core.views import View
from sfumato.errors import UsageError
from sfumato.evaluation.reader import Reader, log_probability, ranks


@dataclass(frozen=True, kw_only=True)
class Look:
    """One way to look at a picture, and the prompt that it should then show.

    steps: views and filters, first to last. The result of a high pass or a band pass has no mean: it is shown
    on middle grey.
    """

    text: str
    steps: tuple[View | Filter, ...] = ()

    def at(self, x: Tensor) -> Tensor:
        """The pictures (N, C, H, W) after the steps, in [-1, 1]."""
        for step in self.steps:
            x = step.forward(x) if isinstance(step, View) else step.apply(x)
        return x.clamp(-1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The scores of N pictures with n readings.

    alignment    (N,) in [0, 1]: the probability of the weakest reading
    concealment  (N,) in [0, 1]
    probability  (N, n): of the right prompt in each look
    rank         (N, n): the place of the right prompt among all classes; the first is 1
    """

    alignment: Tensor
    concealment: Tensor
    probability: Tensor
    rank: Tensor


def looks(expression: Expression) -> tuple[Look, ...]:
    """The looks at the pictures of an expression, one for each of its prompts.

    Raises:
        UsageError: the expression has no prompt, or a node that does not say how its parts should look.
    """
    found = tuple(dict.fromkeys(_looks(expression, ())))
    if not found:
        raise UsageError("the expression has no prompt to judge its pictures by")
    return found


def _looks(e: Expression, steps: tuple[View | Filter, ...]) -> Iterator[Look]:
    match e:
        case Ask(Prompt(text)):
            yield Look(text=text, steps=steps)
        case Ask():
            return
        case Guided(child) | Clipped(child):
            yield from _looks(child, steps)
        case Seen(child, view):
            yield from _looks(child, (*steps, view))
        case Filtered(child, (LowPass() | HighPass() | Band()) as band):
            yield from _looks(child, (*steps, band))
        case Sum(terms, weights):
            for term, weight in zip(terms, weights, strict=True):
                if weight > 0:
                    yield from _looks(term, steps)
        case _:
            raise UsageError(
                f"{e.name} cannot be judged: only prompts, views and low, high and band passes can"
            )


def pick_best(
    reader: Reader, pictures: Tensor, expression: Expression, *, keep: int = 1
) -> tuple[list[int], Scores]:
    """The rows of the `keep` best pictures of an expression, best first, and the scores of all pictures.

    Raises:
        UsageError: `keep` is not in 1..N; or as `looks` and `score`.
    """
    if not 1 <= keep <= len(pictures):
        raise UsageError(f"keep {keep}: give a number from 1 to {len(pictures)}")
    scores = score(reader, pictures, looks(expression))
    order = torch.argsort(scores.alignment, descending=True, stable=True)
    return order[:keep].tolist(), scores


def score(reader: Reader, pictures: Tensor, seen: Sequence[Look]) -> Scores:
    """The scores of pictures (N, C, H, W) in [-1, 1] by their looks.

    Raises:
        UsageError: the reader does not know a prompt, or cannot read the pictures.
    """
    meanings = [reader.meaning(look.text) for look in seen]
    reads = [reader.log_probabilities(look.at(pictures)) for look in seen]  # n of (N, K)
    rows = [torch.stack([log_probability(read, m) for m in meanings], dim=1) for read in reads]
    s = torch.stack(rows, dim=1)  # (N, n, n)
    own = s.diagonal(dim1=1, dim2=2)  # (N, n)
    apart = s.softmax(2).diagonal(dim1=1, dim2=2)
    return Scores(
        alignment=own.amin(1).exp(),
        concealment=apart.mean(1),
        probability=own.exp(),
        rank=torch.stack([ranks(read, m) for read, m in zip(reads, meanings, strict=True)], dim=1),
    )

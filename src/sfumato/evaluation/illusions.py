"""How well illusions work, and which of many works best.

A picture with n readings is looked at in n ways x_i, and look i should show prompt p_i. From a reader's
scores S_ij = log P(p_j | x_i), after Geng et al. 2024 (Visual Anagrams, sec. 4.1), who score with CLIP:

    alignment    A = min_i S_ii                      the weakest reading; given as a probability, exp A
    concealment  C = 1/n sum_i softmax_j(S_ij)_ii    how well looks are told apart; 1/n is chance

A softmax of log probabilities weighs the prompts as the reader itself does: no temperature is to be chosen.
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
    """One way to look at a picture, and what it should show then.

    steps are views and filters, first to last. What a high pass or a band leaves has no mean: it is seen on
    middle grey.
    """

    text: str
    steps: tuple[View | Filter, ...] = ()

    def at(self, x: Tensor) -> Tensor:
        """The pictures (N, C, H, W) as they are seen, in [-1, 1]."""
        for step in self.steps:
            x = step.forward(x) if isinstance(step, View) else step.apply(x)
        return x.clamp(-1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What N pictures with n readings score.

    alignment    (N,) in [0, 1]: the probability of the weakest reading
    concealment  (N,) in [0, 1]
    probability  (N, n): of the right prompt in each look
    rank         (N, n): the place of what was asked for among all classes, 1 is the first
    """

    alignment: Tensor
    concealment: Tensor
    probability: Tensor
    rank: Tensor


def looks(expression: Expression) -> tuple[Look, ...]:
    """How the pictures of an expression are to be looked at, one look for each of its prompts.

    Raises:
        UsageError: no prompt, or a part of which nobody can say what it should look like.
    """
    found = tuple(dict.fromkeys(_looks(expression, ())))
    if not found:
        raise UsageError("there is no prompt to judge by")
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
    """The rows of the `keep` best of these pictures of an expression, best first, and what all of them score.

    Raises:
        UsageError: fewer pictures than are to be kept; or as `looks` and `score`.
    """
    if not 1 <= keep <= len(pictures):
        raise UsageError(f"{keep} of {len(pictures)} pictures cannot be kept")
    scores = score(reader, pictures, looks(expression))
    order = torch.argsort(scores.alignment, descending=True, stable=True)
    return order[:keep].tolist(), scores


def score(reader: Reader, pictures: Tensor, seen: Sequence[Look]) -> Scores:
    """Judge pictures (N, C, H, W) in [-1, 1] by their looks.

    Raises:
        UsageError: the reader does not know a prompt, or cannot read the pictures.
    """
    meanings = [reader.meaning(look.text) for look in seen]
    rows, places = [], []
    for i, look in enumerate(seen):
        read = reader.log_probabilities(look.at(pictures))  #                        (N, K)
        rows.append(torch.stack([log_probability(read, meaning) for meaning in meanings], dim=1))
        places.append(ranks(read, meanings[i]))
    s = torch.stack(rows, dim=1)  #                                                  (N, n, n)
    own = s.diagonal(dim1=1, dim2=2)  #                                              (N, n)
    told = s.softmax(2).diagonal(dim1=1, dim2=2)
    return Scores(
        alignment=own.amin(1).exp(),
        concealment=told.mean(1),
        probability=own.exp(),
        rank=torch.stack(places, dim=1),
    )

"""Pictures with captions: what a network that is asked with words is trained on.

All captions are encoded once, before the training. Which of a picture's captions a step sees, and whether its
style is named, follows from that step's generator.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from sfumato.models.base import Network
from sfumato.models.prompted import PromptedUNet, Words
from sfumato.training.data import Dataset, Forward, digest_of

NAMED = 0.7  # how often a picture's style is named
# How often a caption's single words are hidden, and how often they are those of another caption. Words are
# soon learned by heart, and unknown ones mislead: what the sentence recalls must be drawn whatever they say.
HIDDEN, FALSE = 0.25, 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Bank:
    """K captions, encoded, each of one class; captions of one class stand together, its name last.

    sentence (K, D) float32, tokens (K, L, D), mask (K, L) bool, bag (K, B) float32
    first    (classes + 1,) int64: where each class begins, and K
    """

    sentence: Tensor
    tokens: Tensor
    mask: Tensor
    bag: Tensor
    first: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedDataset(Dataset):
    """A data set whose pictures are asked for by captions of their class, in a style.

    A condition is one number: (caption * (styles + 1) + style) * (captions + 2) + worded, where style 0 is
    none that was named, and worded is 0 with its own words, 1 with none, 2 + k with those of caption k.
    """

    bank: Bank
    style: Tensor  #             (N,) int64, 0 .. len(styles) - 1
    styles: tuple[str, ...]

    def conditions(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Dataset.conditions`: a caption of the class; by chance its style, no words, false ones."""
        start, stop = self.bank.first[self.labels[rows]], self.bank.first[self.labels[rows] + 1]
        caption = start + (torch.rand(len(rows), generator=generator) * (stop - start)).long()
        named = torch.rand(len(rows), generator=generator) < NAMED
        chance = torch.rand(len(rows), generator=generator)
        other = 2 + torch.randint(len(self.bank.mask), (len(rows),), generator=generator)
        worded = torch.where(chance < HIDDEN, 1, torch.where(chance < HIDDEN + FALSE, other, 0))
        style = torch.where(named, self.style[rows] + 1, 0)
        return (caption * (len(self.styles) + 1) + style) * (len(self.bank.mask) + 2) + worded

    def asking(self, network: Forward) -> Forward:
        """See `Dataset.asking`."""

        def forward(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return network(x, t, self.words(condition))  # type: ignore[arg-type]

        return forward

    def acquaint(self, network: Network) -> None:
        """See `Dataset.acquaint`: the concepts' mean captions, as texts and as bags of words."""
        if isinstance(network, PromptedUNet) and network.recall is not None:
            network.recall.remember(self.bank.sentence, self.bank.bag, self.bank.first)

    def _cut(self, count: int) -> Self:
        return replace(super()._cut(count), style=self.style[:count])

    @cached_property
    def fingerprint(self) -> str:
        """See `Dataset.fingerprint`; of styles and captions, too."""
        return digest_of(
            self.style, self.bank.first, self.bank.sentence, self.bank.bag, text=super().fingerprint
        )

    def words(self, condition: Tensor) -> Words:
        """The words of conditions (B,), on their device."""
        told = condition >= 0
        number, captions = condition.clamp(min=0).cpu(), len(self.bank.mask)
        which, worded = number // (captions + 2), number % (captions + 2)
        caption, style = which // (len(self.styles) + 1), which % (len(self.styles) + 1)
        spoken = torch.where(worded > 1, worded - 2, caption)
        device = condition.device
        return Words(
            sentence=(self.bank.sentence[caption].to(device) * told[:, None])[:, None],
            bag=(self.bank.bag[caption].to(device) * told[:, None])[:, None],
            tokens=self.bank.tokens[spoken].to(device).float(),
            mask=(self.bank.mask[spoken] & (worded != 1)[:, None]).to(device) & told[:, None],
            style=style.to(device) * told,
        )

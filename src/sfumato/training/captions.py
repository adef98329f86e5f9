"""Pictures with captions: what a network that takes words is trained on.

All captions are encoded once, before the training. Which of a picture's captions a step sees, whether its
style is named, and how the picture is moved and tinted, follow from that step's generator.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from sfumato.models.networks.base import Network
from sfumato.models.networks.text_to_image import PromptedUNet, Words
from sfumato.training import augmentation
from sfumato.training.data import Dataset, Forward, digest_of

NOTHING = 0.1  # how often a picture's caption and style are withheld, for classifier-free guidance
# How often a caption's single words are hidden, and how often they are those of another caption. Words are
# soon learned by heart, and unknown ones mislead: what the sentence recalls must be drawn whatever they say.
# A scene's words are always its own: they alone say the colour, the number and the place.
HIDDEN, FALSE = 0.25, 0.25
PLAIN = 0.7  #   how often a picture is as it is: neither moved nor tinted


@dataclass(frozen=True, kw_only=True, eq=False)
class Bank:
    """U texts, encoded, and K captions that are among them, each of one class.

    Captions of one class stand together, its name last.

    sentence (U, D) float32, tokens (U, L, D), mask (U, L) bool, bag (U, B) float32
    text     (K,) int64: the text that a caption is
    things   (K, 2) int64: the texts of the things that it asks for; -1 for no second one
    first    (classes + 1,) int64: where each class begins, and K
    length   (concepts,) float32: of the keys by which a network recalls the concepts (`Recall`)
    """

    sentence: Tensor
    tokens: Tensor
    mask: Tensor
    bag: Tensor
    text: Tensor
    things: Tensor
    first: Tensor
    length: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedDataset(Dataset):
    """A data set whose pictures have captions of their class, in a style.

    The first classes are the concepts that a network recalls. From class `scenes` on each is a scene, a
    picture that puts things together.

    A condition is one number of four digits, (caption, style, worded, change): caption K is nothing; style 0
    is none that was named; worded is 0 with its own words, 1 with none, 2 + k with those of caption k; change
    is a row of the table of augmentations.
    """

    bank: Bank
    style: Tensor  #             (N,) int64, 0 .. len(styles) - 1
    styles: tuple[str, ...]
    named: Tensor  #             (len(styles),) float32: how often a picture's style is named
    share: Tensor  #             (N,) float64: how often an epoch shows a picture
    scenes: int

    @property
    def per_epoch(self) -> int:
        """See `Dataset.per_epoch`."""
        return int(self.share.sum())

    def order(self, generator: torch.Generator) -> Tensor:
        """See `Dataset.order`: each picture as often as its share says, rounded up or down by chance."""
        shuffled = torch.randperm(len(self), generator=generator)
        ends = self.share[shuffled].cumsum(0)
        at = torch.arange(self.per_epoch) + torch.rand(1, generator=generator, dtype=torch.float64)
        rows = shuffled[torch.searchsorted(ends, at).clamp(max=len(self) - 1)]
        return rows[torch.randperm(len(rows), generator=generator)]

    def conditions(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Dataset.conditions`: a caption; by chance its style, no words, false ones, a change."""

        def chance() -> Tensor:
            return torch.rand(len(rows), generator=generator)

        captions = len(self.bank.text)
        start, stop = self.bank.first[self.labels[rows]], self.bank.first[self.labels[rows] + 1]
        caption = start + (chance() * (stop - start)).long()
        style = torch.where(chance() < self.named[self.style[rows]], self.style[rows] + 1, 0)
        misled = torch.where(self.labels[rows] < self.scenes, chance(), 1.0)
        other = 2 + torch.randint(captions, (len(rows),), generator=generator)
        worded = torch.where(misled < HIDDEN, 1, torch.where(misled < HIDDEN + FALSE, other, 0))
        change = torch.randint(1, augmentation.ROWS, (len(rows),), generator=generator)
        change = torch.where(chance() < PLAIN, 0, change)
        caption = torch.where(chance() < NOTHING, captions, caption)
        return self.joined(caption, style, worded, change)

    def joined(self, caption: Tensor, style: Tensor, worded: Tensor, change: Tensor) -> Tensor:
        """The conditions (B,) of these four digits."""
        number = (caption * (len(self.styles) + 1) + style) * (len(self.bank.text) + 2) + worded
        return number * augmentation.ROWS + change

    def told(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Caption, style, worded and change of conditions (B,), on the CPU; of DROPPED: nothing at all."""
        number = condition.cpu()
        rest, change = number.clamp(min=0) // augmentation.ROWS, number.clamp(min=0) % augmentation.ROWS
        rest, worded = rest // (len(self.bank.text) + 2), rest % (len(self.bank.text) + 2)
        caption, style = rest // (len(self.styles) + 1), rest % (len(self.styles) + 1)
        return torch.where(number < 0, len(self.bank.text), caption), style, worded, change

    def shown(self, x0: Tensor, condition: Tensor) -> Tensor:
        """See `Dataset.shown`: moved and tinted as the condition says."""
        return augmentation.augmented(x0, self._changes[self.told(condition)[3]].to(x0.device))

    def conditioned_forward(self, network: Forward) -> Forward:
        """See `Dataset.conditioned_forward`."""

        def forward(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return network(x, t, self.words(condition))  # type: ignore[arg-type]

        return forward

    def initialise_from_data(self, network: Network) -> None:
        """See `Dataset.initialise_from_data`: the concepts' mean captions, as texts and as bags of words."""
        if isinstance(network, PromptedUNet) and network.recall is not None:
            bank = self.bank
            captions, first = bank.text[: bank.first[self.scenes]], bank.first[: self.scenes + 1]
            network.recall.remember(bank.sentence[captions], bank.bag[captions], first, bank.length)

    @property
    def known(self) -> dict[str, Any]:
        """See `Dataset.known`: the names of the concepts, as the network numbers them."""
        return {"concepts": list(self.classes[: self.scenes])}

    def _cut(self, count: int) -> Self:
        return replace(super()._cut(count), style=self.style[:count], share=self.share[:count])

    @cached_property
    def fingerprint(self) -> str:
        """See `Dataset.fingerprint`; of styles and captions, too."""
        bank = self.bank
        digested = (
            bank.sentence,
            bank.bag,
            self.style,
            self.share,
            bank.first,
            bank.text,
            bank.things,
            bank.length,
        )
        return digest_of(*digested, text=super().fingerprint)

    @cached_property
    def _changes(self) -> Tensor:
        return augmentation.table()

    def words(self, condition: Tensor) -> Words:
        """The words of conditions (B,), on their device."""
        caption, style, worded, change = self.told(condition)
        told, device = caption < len(self.bank.text), condition.device
        caption = torch.where(told, caption, 0)
        things = self.bank.things[caption]  # (B, 2)
        asked = ((things >= 0) & told[:, None])[..., None]
        spoken = self.bank.text[torch.where(worded > 1, worded - 2, caption)]
        return Words(
            sentence=(self.bank.sentence[things] * asked).to(device),
            bag=(self.bank.bag[things] * asked).to(device),
            tokens=self.bank.tokens[spoken].to(device).float(),
            mask=(self.bank.mask[spoken] & (told & (worded != 1))[:, None]).to(device),
            style=(style * told).to(device),
            augment=self._changes[change].to(device),
        )

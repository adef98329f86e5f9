"""Networks of ours that are asked with words: the text encoder in front, and the styles a prompt may name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sfumato.core.expression import Expression
from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.core.guidance import asked
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.models.networks.text_to_image import WORD, PromptedUNet, Words
from sfumato.models.text.encoder import Encoded, load_text_encoder
from sfumato.models.text.phrasing import things
from sfumato.models.text.word_vectors import BAG


class PromptedModel(Model):
    """A model that is asked with a Prompt or Unconditional; what was encoded once is kept.

    A prompt that ends in "..., NAME style" or "... in the style of NAME", where NAME is one of the network's
    styles, asks for the rest of it in that style.
    """

    network: PromptedUNet

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self._texts: dict[str, Encoded] = {}  # of each text its words, and one or two things as sentences
        names = "|".join(map(re.escape, self.network.styles))
        named = rf"[\s,]+(?:in (?:an? |the )?)?(?:({names}) (?:style|emoji)|style of ({names}))\s*$"
        self._style = re.compile(named, re.IGNORECASE)

    def prepare(self, e: Expression) -> None:
        """Have the texts of a run encoded, all at once."""
        self._encode([self._split(c.text)[0] for c in asked(e) if isinstance(c, Prompt)])

    def answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Tensor:
        answer: Tensor = self._runner(x, t, self._words(conditions, x.device))
        return answer

    def _words(self, conditions: Sequence[Condition], device: torch.device) -> Words:
        asked_for = [self._read(condition) for condition in conditions]
        self._encode([text for text, _ in asked_for if text is not None])
        nothing = Encoded(
            sentence=torch.zeros(1, WORD),
            tokens=torch.zeros(1, 1, WORD),
            mask=torch.zeros(1, 1, dtype=torch.bool),
            bag=torch.zeros(1, BAG),
        )
        rows = [nothing if text is None else self._texts[text] for text, _ in asked_for]
        tokens = pad_sequence([row.tokens[0] for row in rows], batch_first=True)  #  (N, L, WORD)
        mask = pad_sequence([row.mask[0] for row in rows], batch_first=True)  #      (N, L)
        sentence = pad_sequence([row.sentence for row in rows], batch_first=True)  # (N, T, WORD)
        bag = pad_sequence([row.bag for row in rows], batch_first=True)  #           (N, T, BAG)
        return Words(
            sentence=sentence.to(device),
            bag=bag.to(device),
            tokens=tokens.to(device),
            mask=mask.to(device),
            style=torch.tensor([style for _, style in asked_for], device=device),  # (N,)
        )

    def _read(self, condition: Condition) -> tuple[str | None, int]:
        """The text of a condition and 1 + the index of its style, 0 for none.

        Raises:
            UsageError: the condition is a class.
        """
        match condition:
            case Prompt(text):
                return self._split(text)
            case Unconditional():
                return None, 0
            case Label(index):
                raise UsageError(f"{self.name} knows no classes such as {index}: ask it with a text")

    def _split(self, text: str) -> tuple[str, int]:
        found = self._style.search(text) if self.network.styles else None
        if found is None:
            return text.strip(), 0
        name = (found[1] or found[2]).lower()
        return text[: found.start()].strip(), 1 + [style.lower() for style in self.network.styles].index(name)

    def _encode(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if not new:
            return
        parts = {text: things(text) for text in new}
        every = list(dict.fromkeys([*new, *(thing for text in new for thing in parts[text])]))
        encoded, row_of = load_text_encoder().encode(every), {text: row for row, text in enumerate(every)}
        for row, text in enumerate(new):
            length = int(encoded.mask[row].sum())
            asked_for = [row_of[thing] for thing in parts[text]]
            self._texts[text] = Encoded(
                sentence=encoded.sentence[asked_for],
                tokens=encoded.tokens[row : row + 1, :length],
                mask=encoded.mask[row : row + 1, :length],
                bag=encoded.bag[asked_for],
            )

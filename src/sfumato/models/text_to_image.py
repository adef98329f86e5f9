"""Text for the text-to-image network: the text encoder in front, and the styles a prompt may name."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn.utils.rnn import pad_sequence

from sfumato.core.expression import Ask, Expression
from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.errors import UsageError
from sfumato.models.networks.text_to_image import WORD, Words
from sfumato.models.text.emoji import name_emoji
from sfumato.models.text.encoder import Encoded, load_text_encoder
from sfumato.models.text.phrasing import commonly, things
from sfumato.models.text.word_vectors import BAG


class TextConditioner:
    """Words of a Prompt, or of Unconditional (a `Conditioner`); what was encoded once is kept.

    A prompt that ends in "..., NAME style" or "... in the style of NAME", where NAME is one of the network's
    styles, means the rest of it in that style.
    """

    def __init__(self, styles: Sequence[str]) -> None:
        self.styles = tuple(styles)
        self._texts: dict[str, Encoded] = {}  # of each text its words, and one or two things as sentences
        names = "|".join(map(re.escape, self.styles))
        named = rf"[\s,]+(?:in (?:an? |the )?)?(?:({names}) (?:style|emoji)|style of ({names}))\s*$"
        self._style = re.compile(named, re.IGNORECASE)

    def styled(self, e: Expression, styles: tuple[str, ...]) -> Expression:
        """An expression whose prompts have these styles, of which a seed chooses, where they name none."""

        def change(leaf: Ask) -> Ask:
            match leaf.condition:
                case Prompt(text, ()) if leaf.network is None and not self._split(text)[1]:
                    return replace(leaf, condition=Prompt(text, styles))
            return leaf

        return e.map_leaves(change) if styles else e

    def prepare(self, conditions: Sequence[Condition]) -> None:
        """Have the texts of a run encoded, all at once."""
        texts = [self._read(condition)[0] for condition in conditions]
        self._encode([text for text in texts if text is not None])

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> Words:
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
                raise UsageError(f"the model knows no classes such as {index}: give it a text")

    def without_style(self, text: str) -> str:
        """What a prompt asks for, its emoji by their names and without its style."""
        return self._split(text)[0]

    def _split(self, text: str) -> tuple[str, int]:
        text = name_emoji(text).text
        found = self._style.search(text) if self.styles else None
        if found is None:
            return text.strip(), 0
        name = (found[1] or found[2]).lower()
        return text[: found.start()].strip(), 1 + [style.lower() for style in self.styles].index(name)

    def _encode(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if not new:
            return
        parts = {text: tuple(map(commonly, things(text))) for text in new}
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

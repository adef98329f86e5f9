"""What a network is told of the conditions that it answers: the contract, and classes."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.errors import UsageError

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Conditioner(Protocol):
    """Turns conditions into what the network takes beside x and t.

    Both methods refuse a condition that the network cannot answer: UsageError.
    """

    def prepare(self, conditions: Sequence[Condition]) -> None:
        """Get ready for all conditions of a run at once, such as by encoding their texts."""

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> Any:
        """What the network is given for N conditions: tensors of N rows on the device."""


class LabelConditioner:
    """Classes: a Label by its index, a Prompt by the name of a class; "seven" is the name "7", too.

    The network is given (N,) int64, -1 for no condition.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._indices = {name.lower(): i for i, name in enumerate(self.class_names)}
        if not self._indices or len(self._indices) != len(self.class_names):
            raise UsageError(f"class names are one or more, all different, not {list(class_names)!r:.80}")
        for number, word in enumerate(DIGIT_WORDS):
            if str(number) in self._indices:
                self._indices.setdefault(word, self._indices[str(number)])

    def prepare(self, conditions: Sequence[Condition]) -> None:
        """Refuse what is no class, before the first step."""
        for condition in conditions:
            self._index(condition)

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> Tensor:
        return torch.tensor([self._index(c) for c in conditions], dtype=torch.int64, device=device)

    def _index(self, condition: Condition) -> int:
        match condition:
            case Unconditional():
                return -1
            case Label(index):
                if not 0 <= index < len(self.class_names):
                    raise UsageError(f"the model has no class {index}; {self._known()}")
                return index
            case Prompt(text):
                found = self._indices.get(text.strip().lower())
                if found is None:
                    raise UsageError(f"the model cannot draw {text!r}; {self._known()}")
                return found

    def _known(self) -> str:
        return f"it knows {', '.join(self.class_names)}"


def refuse_conditions(conditions: Sequence[Condition]) -> None:
    """Refuse every condition, for a network that takes none: UsageError."""
    for condition in conditions:
        match condition:
            case Label(index):
                raise UsageError(f"the model has no class {index}; it knows no classes: leave the label out")
            case Prompt(text):
                raise UsageError(f"the model cannot draw {text!r}; it knows no classes: leave the prompt out")

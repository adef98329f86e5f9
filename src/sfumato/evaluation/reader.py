"""The seam between classifiers and whatever asks if a picture shows a thing."""

from typing import Protocol

from torch import Tensor

from sfumato.errors import UsageError
from sfumato.models.model import Model


class Reader(Protocol):
    """A classifier that knows the words for its classes."""

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """Of each class, (N, K) float32, for pictures (N, C, H, W) in [-1, 1].

        Raises:
            UsageError: pictures that this reader cannot read.
        """

    def meaning(self, text: str) -> frozenset[int]:
        """The classes that a prompt asks for, at least one.

        Raises:
            UsageError: none of them.
        """


def reader_of(model: Model) -> Reader:
    """The package's reader for what a model draws.

    Raises:
        UsageError: the package has none.
    """
    from sfumato.evaluation.digits import DIGITS, load_judge
    from sfumato.evaluation.emoji import SIDE, load_emoji_judge

    channels, height, width = model.shape
    if model.class_names == DIGITS and model.shape == (1, 28, 28):
        return load_judge()
    if channels == 3 and height == width >= SIDE and not model.class_names:
        return load_emoji_judge()
    raise UsageError(
        f"nothing here reads what {model.name} draws: the package judges digits, and square coloured "
        f"pictures of at least {SIDE} pixels by the emoji that they look like"
    )


def ranks(log_probabilities: Tensor, classes: frozenset[int]) -> Tensor:
    """The place (N,) of the best of these classes among all (N, K), 1 for the first."""
    best = log_probabilities[:, sorted(classes)].amax(1, keepdim=True)
    return 1 + (log_probabilities > best).sum(1)


def log_probability(log_probabilities: Tensor, classes: frozenset[int]) -> Tensor:
    """That it is any of these classes, (N,), from (N, K)."""
    return log_probabilities[:, sorted(classes)].logsumexp(1)

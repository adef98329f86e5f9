"""The contract between classifiers and the code that asks whether a picture shows a thing."""

from typing import Protocol

from torch import Tensor


class Reader(Protocol):
    """A classifier that knows words for its classes."""

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """The log probability of each class, (N, K) float32, for pictures (N, C, H, W) in [-1, 1].

        Raises:
            UsageError: the reader cannot read pictures of this shape.
        """

    def meaning(self, text: str) -> frozenset[int]:
        """The classes that a prompt means, at least one.

        Raises:
            UsageError: the prompt means no class.
        """


def ranks(log_probabilities: Tensor, classes: frozenset[int]) -> Tensor:
    """The place (N,) of the best of these classes among all classes (N, K); the first is 1."""
    best = log_probabilities[:, sorted(classes)].amax(1, keepdim=True)
    return 1 + (log_probabilities > best).sum(1)


def log_probability(log_probabilities: Tensor, classes: frozenset[int]) -> Tensor:
    """The log probability (N,) of these classes together, from those of all classes (N, K)."""
    return log_probabilities[:, sorted(classes)].logsumexp(1)

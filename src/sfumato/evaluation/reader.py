"""The seam between classifiers and whatever asks if a picture shows a thing."""

from typing import Protocol

from torch import Tensor


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


def ranks(log_probabilities: Tensor, classes: frozenset[int]) -> Tensor:
    """The place (N,) of the best of these classes among all (N, K), 1 for the first."""
    best = log_probabilities[:, sorted(classes)].amax(1, keepdim=True)
    return 1 + (log_probabilities > best).sum(1)


def log_probability(log_probabilities: Tensor, classes: frozenset[int]) -> Tensor:
    """That it is any of these classes, (N,), from (N, K)."""
    return log_probabilities[:, sorted(classes)].logsumexp(1)

"""What a step of one picture takes, counted by arithmetic: nothing is built to know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """At most so much.

    leaves: how many are looked at; no more rows go to the networks
    passes: pixels that views and filters go over, one for every time
    """

    leaves: int = 0
    passes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.leaves + other.leaves, self.passes + other.passes)

    def times(self, count: int) -> Work:
        """The same work so many times."""
        return Work(self.leaves * count, self.passes * count)

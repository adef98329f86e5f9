"""Overlapping windows: canvases larger than the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.expression import Expression, Size, Unary, as_expression
from sfumato.core.frame import Answers, Box, Frame, Query
from sfumato.core.prediction import Estimate
from sfumato.core.work import Work
from sfumato.core.writing import Json, Reader, Writer
from sfumato.errors import UsageError


@dataclass(frozen=True)
class Crops(Unary):
    """The average over overlapping windows of the network's own size (Bar-Tal et al. 2023, MultiDiffusion).

    Every pixel is the mean of the windows that cover it, so the parts sum to the identity. A canvas of the
    network's own size is one window.
    """

    keys = ("crops",)
    fields = frozenset({"of"})

    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UsageError(f"the overlap of crops lies in [0, 1), not {self.overlap}")

    @property
    def name(self) -> str:
        return f"crops(overlap={self.overlap:g})"

    def write(self, writer: Writer) -> Json:
        return {"crops": self.overlap, "of": self.child.write(writer)}

    @classmethod
    def read(cls, data: Json, reader: Reader) -> Crops:
        return cls(reader.child(data), float(data["crops"]))

    def boxes(self, frame: Frame) -> list[Box]:
        """The windows over this frame's canvas."""
        height, width = frame.x.shape[-2:]
        h, w = frame.native or (height, width)
        if height < h or width < w:
            raise UsageError(f"a canvas of {width} x {height} is smaller than the network's {w} x {h}")
        tops, lefts = self._starts(height, h), self._starts(width, w)
        return [Box(top, left, h, w) for top in tops for left in lefts]

    def _starts(self, length: int, window: int) -> list[int]:
        stride = self._stride(window)
        return [min(i * stride, length - window) for i in range(self._count(length, window))]

    def _stride(self, window: int) -> int:
        return max(1, round(window * (1 - self.overlap)))

    def _count(self, length: int, window: int) -> int:
        """How many windows cover a side."""
        return max(0, math.ceil((length - window) / self._stride(window))) + 1

    def work(self, size: Size, native: Size | None) -> Work:
        h, w = native or size
        windows = self._count(size[0], h) * self._count(size[1], w)
        return self.child.work((h, w), native).times(windows)

    def queries(self, frame: Frame) -> Iterator[Query]:
        for box in self.boxes(frame):
            yield from self.child.queries(frame.window(box))

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        x0, covered = torch.zeros_like(frame.x), torch.zeros_like(frame.x)
        variance: Tensor | None = None
        for box in self.boxes(frame):
            part = self.child.combine(frame.window(box), answers)
            box.cut(x0).add_(part.x0)
            box.cut(covered).add_(1)
            if part.variance is not None:
                variance = torch.zeros_like(frame.x) if variance is None else variance
                box.cut(variance).add_(part.variance)
        return Estimate(x0=x0 / covered, variance=None if variance is None else variance / covered)


def has_crops(e: Expression) -> bool:
    """Whether an expression is averaged over windows anywhere."""
    return any(isinstance(node, Crops) for node in e.walk())


def crops(e: Expression | str, *, overlap: float = 0.5) -> Expression:
    """An expression averaged over overlapping windows of the network's size, for larger canvases."""
    return Crops(as_expression(e), overlap)

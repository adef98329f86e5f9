"""The loss curve of a training as SVG: the mean of each stretch of steps, and the range of its steps.

The colours are attributes of the elements; a page that holds the drawing restyles it by their classes.
"""

import html
import math
from collections.abc import Iterable, Iterator

from sfumato.training.record import Record

WIDE, HIGH = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 14, 38
GRID = 'class="grid" stroke="#e7dfd2"'
EPOCH = 'class="epoch" stroke="#c9a676" stroke-dasharray="3 3"'
BAND = 'class="band" fill="#96531d" opacity="0.16"'
MEAN = 'class="mean" fill="none" stroke="#96531d" stroke-width="1.8" stroke-linejoin="round"'
TICK = 'font-size="11" fill="#6d6459" text-anchor'


def draw_loss_curve(record: Record) -> str:
    """The SVG document: loss on a logarithmic axis over steps, with marks at the epochs that have sheets."""
    points = record.curve
    low = min((p.low for p in points if p.low > 0), default=1.0)
    axis = _Axis(low, max(low, *(p.high for p in points)), record.steps)
    line = axis.path((p.step, p.mean) for p in points)
    band = axis.path([*((p.step, p.high) for p in points), *((p.step, p.low) for p in reversed(points))])
    fall = f"from {points[0].mean:.3g} to {points[-1].mean:.3g}"
    label = html.escape(f"loss of {record.preset} over {record.steps} steps: {fall}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="curve" viewBox="0 0 {WIDE} {HIGH}" '
        f'font-family="sans-serif" role="img" aria-label="{label}">'
        f"{''.join(axis.drawn())}{''.join(_epochs(record, axis))}"
        f'<path {BAND} d="{band}z"/><path {MEAN} d="{line}"/></svg>'
    )


class _Axis:
    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.high = math.log10(low), math.log10(high)
        if self.high - self.low < 0.05:
            self.high += 0.05
        self.steps = steps

    def x(self, step: float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * step / self.steps

    def y(self, loss: float) -> float:
        share = (math.log10(max(loss, 10**self.low)) - self.low) / (self.high - self.low)
        return HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * share

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """The line through (step, loss)."""
        return "M" + "L".join(f"{self.x(step):.1f} {self.y(loss):.1f}" for step, loss in points)

    def drawn(self) -> Iterator[str]:
        """Lines and numbers."""
        foot = HIGH - BOTTOM
        for value in self._losses():
            y = self.y(value)
            yield f'<path {GRID} d="M{LEFT} {y:.1f}H{WIDE - RIGHT}"/>'
            yield f'<text class="tick left" {TICK}="end" x="{LEFT - 8}" y="{y + 4:.1f}">{value:g}</text>'
        for step in _round_steps(self.steps):
            yield f'<text class="tick" {TICK}="middle" x="{self.x(step):.1f}" y="{foot + 16}">{step:,}</text>'
        yield f'<text class="tick" {TICK}="middle" x="{(LEFT + WIDE - RIGHT) / 2}" y="{HIGH - 4}">step</text>'

    def _losses(self) -> list[float]:
        """1, 2, 5 times powers of ten, as many as there is room for."""
        found = [
            m * 10.0**e
            for e in range(math.floor(self.low) - 1, math.ceil(self.high) + 1)
            for m in (1, 2, 5)
            if self.low <= math.log10(m * 10.0**e) <= self.high
        ]
        tens = [v for v in found if round(math.log10(v), 6).is_integer()]
        return found if len(found) <= 7 or len(tens) < 2 else tens


def _round_steps(steps: int) -> list[int]:
    """About five round numbers of steps."""
    rough = max(1, steps / 5)
    ten = 10 ** math.floor(math.log10(rough))
    stride = max(1, next(ten * m for m in (1, 2, 5, 10) if ten * m >= rough))
    return list(range(0, steps + 1, int(stride)))


def _epochs(record: Record, axis: _Axis) -> Iterator[str]:
    """A mark at the end of each epoch that has a sheet."""
    for epoch in record.sheets if record.per_epoch else ():
        x = axis.x(min(record.steps, epoch * (record.per_epoch or 0)))
        yield f'<path {EPOCH} d="M{x:.1f} {TOP}V{HIGH - BOTTOM}"/>'
        yield f'<text class="tick end" {TICK}="end" x="{x - 5:.1f}" y="{TOP + 10}">epoch {epoch}</text>'

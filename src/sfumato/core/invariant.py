"""The invariant: the parts of an expression sum to the identity.

If every network answered with its input, a whole expression would give the state back: sum_i A_i x = x. A
random probe shows it. Nonlinear nodes are the identity on a probe this small.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.expression import Ask, Expression, Filtered, Known, Seen, Sum
from sfumato.core.filters import FILTERS, Complement, Mask
from sfumato.core.frame import Frame, Unconditional
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level
from sfumato.core.views import check_orthogonal
from sfumato.errors import UsageError

TOLERANCE = 1e-4


def check_whole(
    expression: Expression, shape: tuple[int, int, int], *, native: tuple[int, int] | None = None
) -> None:
    """Refuse an expression whose parts do not sum to the identity on pictures of this shape (C, H, W).

    The error names the lowest node that should have been whole, and the residual: the largest deviation on a
    probe with values in [-0.9, 0.9]. Views must be orthogonal on this shape, too.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    probe = torch.rand((1, *shape), generator=generator) * 1.8 - 0.9
    frame = Frame(x=probe, now=Level(t=0.5, alpha=0.8, sigma=0.6), native=native)
    for node, (height, width) in _placed(expression, shape[1:], native):
        if isinstance(node, Seen):
            check_orthogonal(node.view, (shape[0], height, width))
        elif isinstance(node, Filtered):
            _check_linear(node, probe[..., :height, :width])
    _echoed(expression, frame)  # known pictures, windows and masks that do not fit raise here
    residual = _residual(expression, frame)
    if not residual <= TOLERANCE:
        place, residual = _lowest(expression, residual, frame)
        raise UsageError(
            f"{place}: its parts do not sum to the identity (residual {residual:.2g}); "
            "add the missing part, such as high_pass beside low_pass, or make the weights sum to 1"
        )


def _placed(
    e: Expression, size: tuple[int, int], native: tuple[int, int] | None
) -> Iterator[tuple[Expression, tuple[int, int]]]:
    """Every node with the size of what it looks at: inside crops that is a window."""
    yield e, size
    inside = native if native is not None and isinstance(e, Crops) else size
    for child in e.children:
        yield from _placed(child, inside, native)


def _check_linear(node: Filtered, probe: Tensor) -> None:
    """Refuse a filter that a user brings and that is not linear; the named ones are known to be."""
    band = node.band.of if isinstance(node.band, Complement) else node.band
    if type(band) in {*FILTERS.values(), Mask}:
        return
    apply, other = node.band.apply, probe.flip(-1)
    residual = float((apply(2 * probe - 3 * other) - (2 * apply(probe) - 3 * apply(other))).abs().max())
    if not residual <= TOLERANCE:
        raise UsageError(f"{node.name}: the filter is not linear (residual {residual:.2g}): use a linear one")


def _echoed(expression: Expression, frame: Frame) -> Tensor:
    """The expression's value where every network answers with its input."""
    answers = {query.key: Estimate(x0=query.x) for query in expression.queries(frame)}
    return expression.combine(frame, answers).x0


def _residual(expression: Expression, frame: Frame) -> float:
    return float((_echoed(_all_networks(expression), frame) - frame.x).abs().max())


def _all_networks(e: Expression) -> Expression:
    """The same tree with a network in the place of every known picture, so that all leaves echo."""
    return (
        Ask(Unconditional())
        if isinstance(e, Known)
        else e.with_children([_all_networks(c) for c in e.children])
    )


def _lowest(expression: Expression, residual: float, frame: Frame) -> tuple[str, float]:
    """The lowest node on the way down that should be whole and is not: parts of a sum need not be."""
    if not isinstance(expression, Filtered) and not isinstance(expression, Sum):
        for child in expression.children:
            below = _residual(child, frame)
            if not below <= TOLERANCE:
                return _lowest(child, below, frame)
    return expression.name, residual

"""Whether a map is a view: linear, norm-preserving, its inverse its transpose."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.core.views.base import View
from sfumato.errors import UsageError

TOLERANCE = 1e-4


def check_orthogonal(view: View, shape: tuple[int, int, int]) -> None:
    """Refuse a view that is not orthogonal on pictures of this shape (C, H, W).

    On two random pictures; the UsageError names the view, what it fails at and the residual, relative to the
    norm of a picture. A size that the view cannot cut raises UsageError, too.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    x, y = (torch.randn((1, *shape), generator=generator) for _ in range(2))
    for failing, residual in _residuals(view, x, y):
        if not residual <= TOLERANCE:
            raise UsageError(
                f"the view {view} is not orthogonal: it {failing} (residual {residual:.2g}); "
                "use one that only moves pixels, changes signs or makes quarter turns"
            )


def _residuals(view: View, x: Tensor, y: Tensor) -> list[tuple[str, float]]:
    forward, inverse = view.forward, view.inverse
    seen, back = forward(x), inverse(y)
    for moved in (seen, back):
        if moved.shape != x.shape:
            raise UsageError(f"the view {view} changes the shape {tuple(x.shape)} to {tuple(moved.shape)}")
    adjoint = (seen * y).sum() - (x * back).sum()
    return [
        ("is not linear", _apart(forward(2 * x - 3 * y), 2 * seen - 3 * forward(y))),
        ("does not keep the norm", abs(float(seen.norm() / x.norm()) - 1)),
        ("is not undone by its inverse", max(_apart(inverse(seen), x), _apart(forward(back), y))),
        ("has an inverse that is not its transpose", abs(float(adjoint / (x.norm() * y.norm())))),
    ]


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())

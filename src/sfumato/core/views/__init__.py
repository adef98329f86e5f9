"""Orthogonal views: the ways in which a picture is looked at.

A reading of an anagram is V^T D(V x): the network looks at V x, its answer is carried back. With V^T V = I
noise stays noise, and mixing x0, eps or v is the same thing (Geng et al. 2024, Visual Anagrams, sec. 3.3).
Sizes are fractions of the picture and permutations follow from a seed, so that a view is the same at 64 and
at 256, also on a low-resolution condition; where that holds only nearly, the view's docstring states it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sfumato.core.named import parse
from sfumato.core.views.base import Permutation, View
from sfumato.core.views.cells import InnerCircle, PatchPermute, PixelPermute, SquareHinge
from sfumato.core.views.check import check_orthogonal
from sfumato.core.views.custom import LinearView, PixelMap
from sfumato.core.views.jigsaw import Jigsaw
from sfumato.core.views.plain import (
    Flip,
    Identity,
    Mirror,
    Negate,
    Rotate180,
    RotateClockwise,
    RotateCounterclockwise,
    Skew,
)

__all__ = [
    "VIEWS",
    "Flip",
    "Identity",
    "InnerCircle",
    "Jigsaw",
    "LinearView",
    "Mirror",
    "Negate",
    "PatchPermute",
    "Permutation",
    "PixelMap",
    "PixelPermute",
    "Rotate180",
    "RotateClockwise",
    "RotateCounterclockwise",
    "Skew",
    "SquareHinge",
    "View",
    "check_orthogonal",
    "make_view",
]

# Every view that has a name; `VIEWS[name].description` is its line of help.
VIEWS: Mapping[str, type[View]] = MappingProxyType(
    {
        view.name: view
        for view in (
            Identity,
            Flip,
            Mirror,
            RotateClockwise,
            RotateCounterclockwise,
            Rotate180,
            Negate,
            Skew,
            PatchPermute,
            PixelPermute,
            Jigsaw,
            InnerCircle,
            SquareHinge,
        )
    }
)


def make_view(text: str) -> View:
    """The view that a text names, such as "flip" or "patch_permute:patches=8,seed=3"; `str` gives it back.

    Raises UsageError for an unknown name or option (listing those that there are) and a value out of range.
    """
    return parse(text, VIEWS, "view")

"""Linear filters: the parts that a picture is put together from.

An expression joins e.filtered(F) and f.filtered(F.complement()); since F + F.complement() = I, mixing x0, eps
or v is the same thing (Geng et al. 2024, Factorized Diffusion, sec. 3.1).
"""

from collections.abc import Mapping
from types import MappingProxyType

from sfumato.core.filters.base import Complement, Filter
from sfumato.core.filters.colour import Colour, Grey
from sfumato.core.filters.gaussian import Band, HighPass, LowPass, bands
from sfumato.core.filters.mask import Mask
from sfumato.core.filters.motion import Motion, Still
from sfumato.core.named import parse

__all__ = [
    "FILTERS",
    "Band",
    "Colour",
    "Complement",
    "Filter",
    "Grey",
    "HighPass",
    "LowPass",
    "Mask",
    "Motion",
    "Still",
    "bands",
    "make_filter",
]

# Every filter that has a name; `FILTERS[name].description` is its line of help. A mask comes as a tensor.
FILTERS: Mapping[str, type[Filter]] = MappingProxyType(
    {filter_.name: filter_ for filter_ in (LowPass, HighPass, Band, Grey, Colour, Motion, Still)}
)


def make_filter(text: str) -> Filter:
    """The filter that a text names, such as "low_pass:sigma=2"; "~" before it takes what it leaves.

    `str(filter)` is its inverse. Raises UsageError for an unknown name or option (listing those that there
    are) and for a value out of range.
    """
    rest = text.strip().removeprefix("~")
    chosen = parse(rest, FILTERS, "filter")
    return chosen.complement() if rest != text.strip() else chosen

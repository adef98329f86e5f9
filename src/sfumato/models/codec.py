"""Between pictures and what is sampled: pixels as they are, or latents."""

from abc import ABC, abstractmethod
from copy import copy
from typing import Self

from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.expression import Expression, Filtered, Seen
from sfumato.core.filters import Mask
from sfumato.core.invariant import check_whole
from sfumato.core.noise import DrawNoise
from sfumato.core.views import check_orthogonal
from sfumato.errors import UsageError
from sfumato.models.in_pixels import encoded
from sfumato.models.in_pixels import in_pixels as over_latents
from sfumato.models.runtime.placement import Placement

Shape = tuple[int, int, int]


class Codec(ABC):
    """Between pictures (B, C, H, W) in [-1, 1] and states (B, C', h, w), which are what is sampled.

    shape: (C, H, W) of pictures. state_shape: (C', h, w) of states. of_pixels: whether states are pictures.
    """

    of_pixels: bool

    def __init__(self, shape: Shape, state_shape: Shape) -> None:
        self.shape, self.state_shape = shape, state_shape

    def state_shape_for(self, size: tuple[int, int]) -> Shape:  # noqa: ARG002
        """(C', h, w) of the states of a canvas of this size (H, W); by default there is one size."""
        return self.state_shape

    def for_states(self, state_shape: Shape) -> Self:
        """This codec for states of another size, its pictures in proportion."""
        other, enlarge = copy(self), self.shape[1] // self.state_shape[1]
        other.state_shape = state_shape
        other.shape = (self.shape[0], state_shape[1] * enlarge, state_shape[2] * enlarge)
        return other

    @abstractmethod
    def encode(self, picture: Tensor, draw: DrawNoise | None = None) -> Tensor:
        """The states of pictures; an encoder that samples does so with `draw`, if given."""

    @abstractmethod
    def decode(self, state: Tensor) -> Tensor:
        """The pictures of states."""

    @abstractmethod
    def lower(self, e: Expression, size: tuple[int, int], *, in_pixels: bool = False) -> Expression:
        """An expression over pictures of this size (H, W) as one over states, checked.

        in_pixels: views and filters act on decoded estimates, where states are no pictures.

        Raises:
            UsageError: its parts do not sum to the identity, or states cannot be asked it.
        """

    def place(self, placement: Placement) -> None:  # noqa: B027
        """Compute there from now on; a codec without a network has nothing to move."""


class PixelCodec(Codec):
    """States are pictures."""

    of_pixels = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape)

    def state_shape_for(self, size: tuple[int, int]) -> Shape:
        return (self.shape[0], *size)

    def encode(self, picture: Tensor, draw: DrawNoise | None = None) -> Tensor:  # noqa: ARG002
        return picture

    def decode(self, state: Tensor) -> Tensor:
        return state

    def lower(self, e: Expression, size: tuple[int, int], *, in_pixels: bool = False) -> Expression:
        if in_pixels:
            raise UsageError("the model works on pixels already: leave in_pixels out")
        check_whole(e, self.state_shape_for(size), native=self.state_shape[1:])
        return e


class LatentCodec(Codec):
    """States are latents: subclasses encode and decode them.

    A latent is no small picture: turned, mirrored, filtered or negated it decodes to something else. What
    acts on pixels is therefore refused, or goes through the codec when that is wanted (in_pixels.py). Masks
    and known pictures may stay.
    """

    of_pixels = False

    def lower(self, e: Expression, size: tuple[int, int], *, in_pixels: bool = False) -> Expression:
        nodes = list(e.walk())
        if in_pixels:
            if any(isinstance(node, Crops) for node in nodes):
                raise UsageError("crops do not go with in_pixels: a decoder takes whole pictures")
            check_whole(e, self.shape)
            for node in nodes:
                if isinstance(node, Seen):
                    check_orthogonal(node.view, self.state_shape)  # it turns the noise on the latent's grid
            return over_latents(e, self)
        for node in nodes:
            if isinstance(node, Seen | Crops) or (
                isinstance(node, Filtered) and not isinstance(node.band, Mask)
            ):
                raise UsageError(
                    f"{node.name} acts on pixels and the model works on latents, which do not turn, split or "
                    "tile as pictures do: use a pixel model such as deepfloyd, or ask for in_pixels "
                    "(--in-pixels)"
                )
        e = encoded(e, self)
        check_whole(e, self.state_shape_for(size), native=self.state_shape[1:])
        return e

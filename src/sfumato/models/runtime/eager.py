"""What eager PyTorch is spared: work whose result is known, and a slower kernel than there is.

None of it changes an answer by more than the rounding of its arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Modules of a diffusers network that see the encoded prompts alone, by the names that it gives them: what the
# time embedding is told of a text, the projection of its tokens, and the keys and values of them.
OF_PROMPTS = frozenset({"add_embedding", "encoder_hid_proj", "add_k_proj", "add_v_proj"})
# Attributes by which diffusers divides a sum that it made; nearly always 1.
DIVISORS = ("output_scale_factor", "rescale_output_factor")


class GELU(nn.GELU):
    """The exact GELU; (N, C, H, W) that lies channels-last is shown to oneDNN as the rows it lies in.

    PyTorch takes oneDNN's kernel for contiguous tensors alone, and a slower one for all others (docs/log.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            return F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(x)


class Remembered(nn.Module):
    """A module of one tensor, whose last answer is given again when it is asked the same again.

    A prompt is the same in every step of a run, and so is all that a network makes of the prompt alone.
    Comparing costs a thousandth of the products that it saves. For modules without randomness whose weights
    stay; nobody may write into an answer.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._asked: Tensor | None = None
        self._answer: Tensor | None = None

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        if more:  # pictures beside the prompt
            other: Tensor = self.module(x, *more)
            return other
        if self._answer is None or self._asked is None or not same(self._asked, x):
            self._answer = self.module(x)
            self._asked = x.clone()  # x may be written into after this call
        return self._answer


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same in every bit, of their kind and their place, too."""
    if (a.dtype, a.device, a.shape, a.stride()) != (b.dtype, b.device, b.shape, b.stride()):
        return False
    if a.dim() > 1 and not a.is_contiguous():
        a, b = a.mT, b.mT  # a transposed text
    if a.is_contiguous():  # byte by byte is what every number is, and several times faster
        a, b = _words(a), _words(b)
    return torch.equal(a, b)


def _words(x: Tensor) -> Tensor:
    """A contiguous tensor as the 64-bit words of its memory, where it fills them."""
    flat = x.view(-1).view(torch.uint8)
    whole = flat.numel() % 8 == 0 and flat.storage_offset() % 8 == 0
    return flat.view(torch.int64) if whole else flat


class One:
    """The number by which dividing a tensor is nothing: not a pass over its memory."""

    def __rtruediv__(self, x: Tensor) -> Tensor:
        return x


def without_division(module: nn.Module) -> None:
    """Spare a module of diffusers the divisions by 1.0, in place."""
    for name in DIVISORS:
        if module.__dict__.get(name) == 1.0:
            setattr(module, name, One())

"""Weights at one byte a number, with one scale for each `GROUP` neighbours of a row.

    w ≈ scale * q,    q = round(w / scale) in [-127, 127],    scale = max |w of the group| / 127 in float16

A number is off by at most half its group's scale, and by what rounding the scale adds (0.05 % of the group's
largest). Matrices are stored so, all else as it is; the scales of `NAME` are stored as `NAME.scale`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sfumato.errors import UsageError

SCALE = ".scale"
GROUP = 32
MOST = 127


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (R, C) become int8 with scales (R, C / GROUP) float16; all else stays as it is.

    Raises:
        UsageError: a matrix whose rows are not whole groups, or not finite, or too large for float16.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dim() != 2:
            out[name] = tensor
            continue
        if tensor.shape[1] % GROUP:
            raise UsageError(f"{name}: rows of {tensor.shape[1]} are not whole groups of {GROUP}")
        groups = tensor.float().reshape(len(tensor), -1, GROUP)  #                          (R, C/G, G)
        scale = (groups.abs().amax(2) / MOST).half()  #                                     (R, C/G)
        if not scale.isfinite().all():
            raise UsageError(f"{name} holds values that int8 with float16 scales cannot hold")
        steps = groups / scale.float().where(scale > 0, 1.0)[..., None]  # a group of zeros stays one
        out[name] = steps.round().clamp(-MOST, MOST).to(torch.int8).flatten(1)  #           (R, C)
        out[name + SCALE] = scale
    return out


def restore(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `quantise` made, its matrices in float32 again.

    Raises:
        KeyError: an int8 matrix without its scales.
    """
    return {
        name: _restored(tensor, tensors[name + SCALE]) if tensor.dtype is torch.int8 else tensor
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }


def _restored(steps: Tensor, scale: Tensor) -> Tensor:
    groups = steps.reshape(*scale.shape, -1) * scale.float()[..., None]  #                  (R, C/G, G)
    return groups.flatten(1)

"""Weights at one byte a number, with one scale for each `GROUP` neighbours of a row.

    w ≈ scale * q,    q = round(w / scale) in [-127, 127],    scale = max |w of the group| / 127 in float16

A number is off by at most half its group's scale, and by what rounding the scale adds (0.05 % of the group's
largest). Matrices are stored so, all else as it is; the scales of `NAME` are stored as `NAME.scale`.
tools/convert_text.py writes them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
GROUP = 32
MOST = 127


def restore(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors with their matrices in float32 again.

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

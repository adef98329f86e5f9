"""Pictures moved and tinted, and what a network is told of it (Karras et al. 2022, appendix F.2).

A network that is told draws plainly when it is told of nothing, and learns from the others what things look
like turned, small or aside. The changes are a fixed table, so that a row's number says all; row 0 is none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 4096
TOLD = 10  # components that describe an augmentation
TURN, SMALLEST, LARGEST = math.radians(30), 0.6, 1.1
SHIFT, SHEAR = 0.12, 0.15  # of the picture's half; of its height
BRIGHTNESS, HUE = 0.25, 0.4  # of the ink; radians
_EACH = 0.6  # how often a change has each of its parts
_SEED = 20

# Rows: brightness and the two of colour (YIQ), of which hue is a turn
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def table() -> Tensor:
    """(ROWS, TOLD): logarithm of the scale, cosine of the turn less 1, its sine, shifts right and down,
    mirrored, shear, brightness, cosine of the hue's turn less 1, its sine. The first row is zero.
    """
    generator = torch.Generator().manual_seed(_SEED)

    def within(size: float) -> Tensor:
        value = (2 * torch.rand(ROWS, generator=generator) - 1) * size
        return value * (torch.rand(ROWS, generator=generator) < _EACH)

    scale = SMALLEST + (LARGEST - SMALLEST) * torch.rand(ROWS, generator=generator)
    scale = torch.where(torch.rand(ROWS, generator=generator) < _EACH, scale, 1.0).log()
    turn, hue = within(TURN), within(HUE)
    mirrored = (torch.rand(ROWS, generator=generator) < 0.5).float()
    moves = [scale, turn.cos() - 1, turn.sin(), within(SHIFT), within(SHIFT), mirrored, within(SHEAR)]
    changes = torch.stack([*moves, within(BRIGHTNESS), hue.cos() - 1, hue.sin()], dim=1)
    changes[0] = 0
    return changes


def augmented(x: Tensor, told: Tensor) -> Tensor:
    """Pictures on white x (N, 3, H, W) in [-1, 1], each changed by its row of `told` (N, TOLD).

    What comes into view is white; a row of zeros leaves its picture as it is.
    """
    changed = told.any(1)
    if not bool(changed.any()):
        return x
    scale, cosine, sine, right, down, mirrored, shear, light, hue, hue_sine = told[changed].T
    across = (1 - 2 * mirrored) / scale.exp()
    matrix = torch.zeros(len(scale), 2, 3, device=x.device)  # from places in the answer to places in x
    matrix[:, 0, 0], matrix[:, 0, 1] = across * (1 + cosine), across * (sine + shear)
    matrix[:, 1, 0], matrix[:, 1, 1] = -sine / scale.exp(), (1 + cosine) / scale.exp()
    matrix[:, :, 2] = -(matrix[:, :, :2] @ torch.stack([right, down], dim=1)[:, :, None])[:, :, 0]
    grid = F.affine_grid(matrix, [len(scale), *x.shape[1:]], align_corners=False)
    ink = F.grid_sample(1 - x[changed], grid, align_corners=False)  # 0 is white
    turn = torch.eye(3, device=x.device).repeat(len(scale), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = 1 + hue
    turn[:, 1, 2], turn[:, 2, 1] = -hue_sine, hue_sine
    yiq = _YIQ.to(x.device)
    ink = torch.einsum("nij,njhw->nihw", yiq.inverse() @ turn @ yiq, ink) * (1 + light)[:, None, None, None]
    out = x.clone()
    out[changed] = (1 - ink).clamp(-1, 1)
    return out

"""Random changes of pictures that should not change what a classifier reads.

Contract: a change maps pictures (N, C, H, W) float in [-1, 1] to pictures of the same shape, not clamped.
Every random number comes from the given CPU generator. Each picture has its own amount of change.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Change = Callable[[Tensor, torch.Generator], Tensor]


def affine(
    *, turn: float = 0, scale: float = 0, shear: float = 0, shift: float = 0, ground: float = 1
) -> Change:
    """Turned by up to `turn` degrees; scaled, sheared and shifted by up to these shares of the picture.

    Uncovered pixels have the value `ground`.
    """

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        angle, size = _within(len(x), math.radians(turn), generator), 1 + _within(len(x), scale, generator)
        slant = _within(len(x), shear, generator)
        matrix = torch.zeros(len(x), 2, 3)
        matrix[:, 0, 0], matrix[:, 0, 1] = size * angle.cos(), slant - size * angle.sin()
        matrix[:, 1, 0], matrix[:, 1, 1] = size * angle.sin(), size * angle.cos()
        matrix[:, 0, 2], matrix[:, 1, 2] = (_within(len(x), 2 * shift, generator) for _ in range(2))
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        return F.grid_sample(x - ground, grid, align_corners=False) + ground

    return change


def waves(reach: float, knots: int) -> Change:
    """Bent by a smooth random field: `knots` a side, displaced by some `reach` of the picture's half."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        field = torch.randn(len(x), 2, knots, knots, generator=generator) * reach
        bent = F.interpolate(field, size=x.shape[-2:], mode="bicubic", align_corners=True).movedim(1, -1)
        still = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, still + bent, padding_mode="border", align_corners=False)

    return change


def perspective(reach: float) -> Change:
    """Seen from aside: the horizon at random, nearer parts larger by up to `reach`."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        tilt = _within((len(x), 1, 1, 2), reach, generator)
        still = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
        depth = 1 + (still * tilt).sum(-1, keepdim=True)
        return F.grid_sample(x, still / depth, padding_mode="border", align_corners=False)

    return change


def colour(*, light: float, contrast: float, mix: float) -> Change:
    """Brightness, contrast, and a 3 x 3 matrix of colours near the identity; white moves little."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        each = (len(x), 1, 1, 1)
        matrix = torch.eye(3) + _within((len(x), 3, 3), mix, generator)
        matrix = matrix / matrix.sum(-1, keepdim=True)  # greys stay
        x = torch.einsum("nij,njhw->nihw", matrix, x)
        return x * (1 + _within(each, contrast, generator)) + _within(each, light, generator)

    return change


def blur(sigma: float) -> Change:
    """A Gaussian blur of up to `sigma` pixels."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        width = sigma * torch.rand(len(x), generator=generator).clamp_min(0.05)
        return blurred(x, width)

    return change


def edges(sigma: float, ground: float) -> Change:
    """High-pass filtered by `sigma` / 2 to `sigma` pixels, on the value `ground`."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        width = sigma * (0.5 + 0.5 * torch.rand(len(x), generator=generator))
        return x - blurred(x, width) + ground

    return change


def coarse(least: float) -> Change:
    """Made smaller, to a random share (at least `least`) of the side, the same for all, and larger again."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        share = least + (1 - least) * float(torch.rand((), generator=generator))
        small = F.interpolate(x, size=max(1, round(share * x.shape[-1])), mode="area")
        return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)

    return change


def noise(sigma: float) -> Change:
    """White noise of up to `sigma`."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        amount = sigma * torch.rand(len(x), 1, 1, 1, generator=generator)
        return x + amount * torch.randn(x.shape, generator=generator)

    return change


def jpeg(worst: float) -> Change:
    """The cosines of 8 x 8 blocks rounded, finer ones more coarsely: JPEG without its subsampling.

    worst: the step of the mean, in [-1, 1] units, at its largest; the finest cosine's is 8 times as large.
    """
    place = torch.arange(8)
    basis = torch.cos(math.pi / 8 * (place[None, :] + 0.5) * place[:, None]) / 2
    basis[0] /= math.sqrt(2)  # (8, 8), orthonormal
    coarser = 1 + (place[:, None] + place[None, :]) / 2

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        step = worst * torch.rand(len(x), 1, 1, 1, 1, 1, generator=generator).clamp_min(0.02)
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)  # (N, C, h, w, 8, 8)
        cosines, steps = basis @ blocks @ basis.T, step * 8 * coarser / 4
        rounded = (cosines / steps).round() * steps
        return (basis.T @ rounded @ basis).transpose(3, 4).reshape(n, c, h, w)

    return change


def posterised(levels: int) -> Change:
    """Rounded to `levels` values of each colour."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001
        return ((x + 1) / 2 * (levels - 1)).round() / (levels - 1) * 2 - 1

    return change


def pixelated(size: int) -> Change:
    """Squares of `size` pixels of one colour each."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001
        small = F.avg_pool2d(x, size)
        return F.interpolate(small, size=x.shape[-2:], mode="nearest")

    return change


def hidden(share: float) -> Change:
    """A grey square at random, its side a share of the picture's."""

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        side = round(share * x.shape[-1])
        top, left = (
            torch.randint(0, size - side + 1, (len(x), 1), generator=generator) for size in x.shape[-2:]
        )
        rows, columns = (
            (at <= place) & (place < at + side)
            for at, place in zip((top, left), map(torch.arange, x.shape[-2:]), strict=True)
        )
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)

    return change


def sometimes(change: Change, probability: float) -> Change:
    """The change on this share of the pictures; the others stay."""

    def changed(x: Tensor, generator: torch.Generator) -> Tensor:
        chosen = torch.rand(len(x), generator=generator) < probability
        if bool(chosen.any()):
            x = x.clone()
            x[chosen] = change(x[chosen], generator)
        return x

    return changed


def one_of(changes: Sequence[Change]) -> Change:
    """One of the changes for each picture."""

    def changed(x: Tensor, generator: torch.Generator) -> Tensor:
        which = torch.randint(0, len(changes), (len(x),), generator=generator)
        x = x.clone()
        for i, change in enumerate(changes):
            rows = which == i
            if bool(rows.any()):
                x[rows] = change(x[rows], generator)
        return x

    return changed


def chain(*changes: Change) -> Change:
    """One after the other."""

    def changed(x: Tensor, generator: torch.Generator) -> Tensor:
        for change in changes:
            x = change(x, generator)
        return x

    return changed


def _within(shape: int | tuple[int, ...], size: float, generator: torch.Generator) -> Tensor:
    """Uniform in [-size, size]."""
    return (torch.rand(shape, generator=generator) * 2 - 1) * size


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Each picture of x (N, C, H, W) blurred by its own sigma (N,), edges repeated."""
    n, c, _, _ = x.shape
    reach = math.ceil(2.5 * float(sigma.max()))
    place = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = torch.exp(-(place**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # (N * C, K)
    x = F.pad(x, (reach,) * 4, mode="replicate").flatten(0, 1)[None]  # (1, N * C, h, w)
    x = F.conv2d(x, kernel[:, None, :, None], groups=n * c)
    x = F.conv2d(x, kernel[:, None, None, :], groups=n * c)
    return x.view(n, c, *x.shape[-2:])

"""The classifiers that read generated pictures; FID is taken on their features.

They ship with the package and are trained on the data sets of its models. A Frechet distance on their
features compares models of this package with one another and with real pictures. It cannot be compared with
an FID on Inception features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 500  # pictures of one forward pass


class Classifier(nn.Module):
    """A trunk from pictures in [-1, 1] to features, and a head from features to logits."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def features(self, x: Tensor) -> Tensor:
        """Pictures (N, C, H, W) -> (N, F)."""
        features: Tensor = self.trunk(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.head(self.features(x))
        return logits

    @torch.inference_mode()
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, F) and logits (N, K) of any number of pictures (N, C, H, W)."""
        features = torch.cat([self.features(part) for part in torch.split(x, ROWS)])
        return features, self.head(features)


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )


class DigitClassifier(Classifier):
    """28 x 28 grey digits (N, 1, 28, 28), white on black: 128 features, 10 classes."""

    def __init__(self) -> None:
        trunk = nn.Sequential(  # (N, 1, 28, 28)
            block(1, 32, kernel=5),
            nn.MaxPool2d(2),  # (N, 32, 14, 14)
            block(32, 64),
            nn.MaxPool2d(2),  # (N, 64, 7, 7)
            block(64, 96),
            block(96, 96),
            nn.MaxPool2d(2),  # (N, 96, 3, 3)
            nn.Flatten(),
            nn.Linear(96 * 9, 128),
            nn.GELU(),
        )
        super().__init__(trunk, nn.Linear(128, 10))


class EmojiClassifier(Classifier):
    """64 x 64 coloured emoji (N, 3, 64, 64): 128 features of length sqrt(128), and one logit a class."""

    def __init__(self, classes: int) -> None:
        trunk = nn.Sequential(  # (N, 3, 64, 64)
            nn.PixelUnshuffle(4),  # (N, 48, 16, 16)
            block(48, 96),
            _Residual(96),
            block(96, 144, stride=2),  # (N, 144, 8, 8)
            _Residual(144),
            _Residual(144),
            block(144, 192, stride=2),  # (N, 192, 4, 4)
            nn.AdaptiveAvgPool2d(2),  # (N, 192, 2, 2): keeps some of the layout
            nn.Flatten(),
            nn.Linear(192 * 4, 128),
            nn.BatchNorm1d(128),
            _Sphere(),
        )
        super().__init__(trunk, CosineHead(128, classes))


class CosineHead(nn.Module):
    """Logits as cosines between features and a direction for each class, times a fixed scale."""

    SCALE = 20.0

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) / features**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, K) within -SCALE .. SCALE."""
        one, other = F.normalize(features, dim=1), F.normalize(self.weight, dim=1)
        cosines: Tensor = one @ other.T
        return self.SCALE * cosines


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = block(width, width), block(width, width)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.two(self.one(x))
        return x + change


class _Sphere(nn.Module):
    """Scales features to the length sqrt(F), so that each is near 1."""

    def forward(self, x: Tensor) -> Tensor:
        length: float = x.shape[1] ** 0.5
        return F.normalize(x, dim=1) * length

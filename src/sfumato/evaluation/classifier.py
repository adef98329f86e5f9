"""The digit classifier: what reads generated digits, and the feature network of their FID.

It ships with the package, trained on the 60,000 training digits of MNIST. A Frechet distance taken on its
features is "FID on the features of sfumato's digit classifier": it compares models of this package with one
another and with real digits, and is no number to set beside an FID on Inception features.
"""

from torch import Tensor, nn

FEATURES = 128
CLASSES = 10


def _block(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )


class DigitClassifier(nn.Module):
    """A small convolutional network over 28x28 grey digits.

    Input (N, 1, 28, 28) in [-1, 1], white on black; `forward` answers logits (N, 10), `features` the 128
    numbers of the penultimate layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(  # (N, 1, 28, 28)
            _block(1, 32, kernel=5),
            nn.MaxPool2d(2),  # (N, 32, 14, 14)
            _block(32, 64),
            nn.MaxPool2d(2),  # (N, 64, 7, 7)
            _block(64, 96),
            _block(96, 96),
            nn.MaxPool2d(2),  # (N, 96, 3, 3)
            nn.Flatten(),
            nn.Linear(96 * 9, FEATURES),
            nn.GELU(),
        )
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) in [-1, 1] -> (N, 128)."""
        features: Tensor = self.trunk(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) in [-1, 1] -> logits (N, 10)."""
        logits: Tensor = self.head(self.features(x))
        return logits

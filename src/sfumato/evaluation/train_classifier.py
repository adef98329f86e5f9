"""How the shipped digit classifier was made, with the statistics of real digits that FID compares with.

    python -m sfumato.evaluation.train_classifier FOLDER

AdamW with a one-cycle rate, label smoothing, small random affine changes of the digits. Ten minutes on two
slow cores; another processor rounds otherwise, so the weights agree in quality, not in their bytes.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.evaluation.classifier import DigitClassifier
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.models.store import write_folder
from sfumato.training.data import load_dataset, to_house_range

EPOCHS, BATCH, RATE = 9, 128, 3e-3
COUNTS, SPLITS = (500, 1000, 2000, 5000), 10  # of the yardstick


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Digits (N, 1, 28, 28) turned by up to 12 degrees, scaled and sheared by 10 %, shifted by 2 pixels."""

    def uniform(size: float) -> Tensor:
        return (torch.rand(len(x), generator=generator) * 2 - 1) * size

    angle, scale, shear = uniform(math.radians(12)), 1 + uniform(0.1), uniform(0.1)
    affine = torch.zeros(len(x), 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = scale * angle.cos(), shear - scale * angle.sin()
    affine[:, 1, 0], affine[:, 1, 1] = scale * angle.sin(), scale * angle.cos()
    affine[:, 0, 2], affine[:, 1, 2] = uniform(2 / 14), uniform(2 / 14)
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # outside the picture is black


def train(
    x: Tensor, y: Tensor, *, epochs: int = EPOCHS, seed: int = 0
) -> Iterator[tuple[int, DigitClassifier]]:
    """Train on x (N, 1, 28, 28) in [-1, 1] with labels y (N,); yields (epoch from 1, the network so far)."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = DigitClassifier()
    steps = len(x) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps, pct_start=0.25)
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(x), generator=generator)
        network.train()
        for rows in order[: steps * BATCH].view(steps, BATCH):
            logits = network(augmented(x[rows], generator))
            loss = F.cross_entropy(logits, y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
        yield epoch, network.eval()


@torch.inference_mode()
def read(network: DigitClassifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, 128) and classes (N,) of digits (N, 1, 28, 28)."""
    features = torch.cat([network.features(part) for part in torch.split(x, 500)])
    return features, network.head(features).argmax(1)


def yardsticks(features: Tensor, reference: Gaussian) -> dict[str, float]:
    """The FID of real test digits, by count: the mean over disjoint random sets of `SPLITS` orders."""
    generator = torch.Generator().manual_seed(0)
    out = {}
    for count in COUNTS:
        found = [
            frechet_distance(Gaussian.of(features[rows]), reference)
            for _ in range(SPLITS)
            for rows in torch.split(torch.randperm(len(features), generator=generator), count)
        ]
        out[str(count)] = round(sum(found) / len(found), 3)
    return out


def main(folder: Path) -> None:
    """Train, measure and publish."""
    seen, unseen = load_dataset("mnist"), load_dataset("mnist", split="test")
    x, test = to_house_range(seen.pictures), to_house_range(unseen.pictures)
    for epoch, network in train(x, seen.labels):
        features, classes = read(network, test)
        accuracy = (classes == unseen.labels).double().mean().item()
        print(f"epoch {epoch} of {EPOCHS}: {accuracy:.2%} of the test digits", flush=True)
    reference = Gaussian.of(read(network, x)[0])
    moments = {
        "reference.mean": reference.mean,
        "reference.covariance": reference.covariance,
        "reference.shares": torch.bincount(seen.labels).double() / len(seen.labels),
    }
    description = {
        "format": 1,
        "name": "digit-classifier",
        "accuracy": accuracy,
        "fid": yardsticks(features, reference),
        "provenance": {
            "data": "MNIST: trained on the 60,000 training digits, accuracy on the 10,000 test digits",
            "training": "python -m sfumato.evaluation.train_classifier",
        },
    }
    write_folder(folder, description, {**network.state_dict(), **moments})


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Trains the shipped classifier of digits, and computes the statistics of real digits for FID.

    python -m tools.train_digit_classifier FOLDER

AdamW with a one-cycle rate, label smoothing, random changes of the pictures. It takes ten minutes on two slow
cores. Another processor rounds in another way: the weights then agree in quality, but not in their bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.evaluation.classifier import Classifier, DigitClassifier
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.models.files.store import write_folder
from sfumato.training.data import to_house_range
from sfumato.training.datasets import load_dataset
from tools import run
from tools.augment import Change, affine
from tools.resumable import Progress

# rows (B,) of the training's pictures -> pictures (B, C, H, W) in [-1, 1] and their classes (B,)
Draw = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
C = TypeVar("C", bound=Classifier)

COUNTS, SPLITS = (500, 1000, 2000, 5000), 10  # of the yardstick


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a classifier's training; dtype is that of the forward pass."""

    epochs: int
    batch: int
    rate: float
    change: Change
    decay: float = 1e-2
    smoothing: float = 0.05
    dtype: torch.dtype = torch.float32


DIGITS = Recipe(
    epochs=9, batch=128, rate=3e-3, change=affine(turn=12, scale=0.1, shear=0.1, shift=1 / 14, ground=-1)
)


def as_they_are(pictures: Tensor, y: Tensor) -> Draw:
    """Draws uint8 pictures (N, C, H, W) of classes y (N,)."""
    return lambda rows, _: (to_house_range(pictures[rows]), y[rows])


def train(
    network: C, count: int, draw: Draw, recipe: Recipe, *, seed: int = 0, progress: Progress | None = None
) -> Iterator[tuple[int, C]]:
    """Trains on `count` pictures that are drawn by their rows; yields (epoch from 1, the network so far).

    With `progress`, each epoch is kept, and the training goes on after the last one that was.
    """
    generator = torch.Generator().manual_seed(seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = count // recipe.batch
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=recipe.epochs * steps, pct_start=0.25
    )
    mixed = recipe.dtype != torch.float32
    done = progress.restore(network, optimizer, rate, generator) if progress else 0
    for epoch in range(done + 1, recipe.epochs + 1):
        order = torch.randperm(count, generator=generator)
        network.train()
        for rows in order[: steps * recipe.batch].view(steps, recipe.batch):
            x, y = draw(rows, generator)
            x = recipe.change(x, generator)
            with torch.autocast("cpu", recipe.dtype, enabled=mixed):
                logits = network(x.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), y, label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
        if progress:
            progress.keep(epoch, network, optimizer, rate, generator)
        yield epoch, network.eval()


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
    """Train and measure the classifier of digits, and write it into FOLDER."""
    train_set, test_set = load_dataset("mnist"), load_dataset("mnist", split="test")
    test = to_house_range(test_set.pictures)
    torch.manual_seed(0)
    draw = as_they_are(train_set.pictures, train_set.labels)
    for epoch, network in train(DigitClassifier(), len(train_set), draw, DIGITS):
        features, logits = network.read(test)
        accuracy = (logits.argmax(1) == test_set.labels).double().mean().item()
        print(f"epoch {epoch} of {DIGITS.epochs}: {accuracy:.2%} of the test digits", flush=True)
    reference = Gaussian.of(network.read(to_house_range(train_set.pictures))[0])
    moments = {
        "reference.mean": reference.mean,
        "reference.covariance": reference.covariance,
        "reference.shares": torch.bincount(train_set.labels).double() / len(train_set),
    }
    description = {
        "format": 1,
        "name": "digit-classifier",
        "accuracy": accuracy,
        "fid": yardsticks(features, reference),
        "provenance": {
            "data": "MNIST: trained on the 60,000 training digits, accuracy on the 10,000 test digits",
            "training": "python -m tools.train_digit_classifier",
        },
    }
    write_folder(folder, description, {**network.state_dict(), **moments})


if __name__ == "__main__":
    run(main)

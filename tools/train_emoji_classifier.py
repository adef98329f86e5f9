"""Trains the shipped classifier of emoji.

    python -m tools.train_emoji_classifier FOLDER

A concept has four pictures at most, so the classifier also learns from random changes of them. They resemble
the pictures that it must read: soft, noisy or displaced samples, low and high frequencies of hybrids. Its
accuracy is measured under changes of other kinds, which training does not apply (`HELD_OUT`).
"""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.emoji import STEP
from sfumato.models.files.store import write_folder
from sfumato.training.data import to_house_range
from sfumato.training.emoji import EmojiDataset, load_emoji
from sfumato.training.emoji.dataset import concepts_to_json
from tools import run
from tools.augment import (
    Change,
    affine,
    blur,
    chain,
    coarse,
    colour,
    edges,
    hidden,
    jpeg,
    noise,
    one_of,
    perspective,
    pixelated,
    posterised,
    sometimes,
    waves,
)
from tools.train_digit_classifier import Recipe, train

EMOJI = Recipe(
    epochs=45,
    batch=128,
    rate=4e-3,
    decay=5e-2,
    smoothing=0.1,
    dtype=torch.bfloat16,
    change=chain(
        sometimes(affine(turn=15, scale=0.2, shift=0.08), 0.9),
        sometimes(colour(light=0.2, contrast=0.3, mix=0.25), 0.8),
        sometimes(one_of([blur(2.5), coarse(0.25), edges(4, 0.0), edges(4, 0.8)]), 0.55),
        sometimes(noise(0.25), 0.4),
        sometimes(jpeg(0.1), 0.25),
    ),
)

HELD_OUT: Mapping[str, Change] = {
    "sheared": affine(shear=0.35),
    "bent": waves(0.06, 5),
    "in perspective": perspective(0.35),
    "posterised": posterised(4),
    "pixelated": pixelated(3),
    "partly hidden": hidden(0.3),
}


def main(folder: Path) -> None:
    """Train and measure the classifier of emoji, and write it into FOLDER."""
    data = load_emoji()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    start = time.perf_counter()
    for epoch, network in train(EmojiClassifier(len(data.concepts)), data.pictures, data.concept, EMOJI):
        spent = time.perf_counter() - start
        if epoch % 5 == 0:
            found = measured(network, data.pictures[::7], data.concept[::7])
            print(f"epoch {epoch} of {EMOJI.epochs}, {spent:.0f} s: {found}", flush=True)
    publish(network, data, folder)


def measured(network: EmojiClassifier, pictures: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """Top-1 and top-5 on uint8 pictures as they are and under each held-out change."""
    x = to_house_range(pictures)
    kinds: dict[str, Change] = {"as they are": lambda x, _: x, **HELD_OUT}
    out = {}
    for name, change in kinds.items():
        _, logits = network.read(change(x, torch.Generator().manual_seed(0)))
        out[name] = {f"top-{within}": round(_share(logits, y, within), 4) for within in (1, 5)}
    return out


def publish(network: EmojiClassifier, data: EmojiDataset, folder: Path) -> None:
    """Writes the weights in half precision, the features of the data set and its concepts."""
    network = network.half().float()  # so that the stored weights are measured
    features, _ = network.read(to_house_range(data.pictures))
    description = {
        "format": 1,
        "name": "emoji-classifier",
        "concepts": concepts_to_json(data.concepts),
        "styles": data.styles,
        "accuracy": measured(network, data.pictures, data.concept),
        "provenance": {
            "data": f"{len(data)} emoji, fingerprint {data.fingerprint[:16]}",
            "training": "python -m tools.train_emoji_classifier",
        },
    }
    bank = {
        "reference.features": (features / STEP).round().clamp(-128, 127).to(torch.int8),
        "reference.concept": data.concept.to(torch.int16),
        "reference.style": data.style.to(torch.uint8),
    }
    write_folder(folder, description, {**network.state_dict(), **bank}, dtype=torch.float16)


def _share(logits: Tensor, y: Tensor, within: int) -> float:
    """How often the right class is among the first ones."""
    return (logits.topk(within).indices == y[:, None]).any(1).double().mean().item()


if __name__ == "__main__":
    run(main)

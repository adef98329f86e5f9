"""Trains the shipped classifier of emoji.

    python -m tools.train_emoji_classifier FOLDER

A concept has a few pictures, many have one, so the classifier also learns from random changes of them. They
resemble the pictures that it must read: soft, noisy or displaced samples, icons from afar or by their edges.
Its accuracy is measured under changes of other kinds, which training does not apply (`HELD_OUT`). One more
class is of pictures that show none of the concepts (`tools/emoji_examples.py`).

Each epoch is kept beside FOLDER, in FOLDER.training; given again, the command goes on after the last one.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.emoji import STEP, EmojiJudge, load_emoji_judge
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
from tools.emoji_examples import SHARES, Examples
from tools.generated import load_generated
from tools.negatives import moves_of
from tools.resumable import Progress
from tools.train_digit_classifier import Recipe, train

EMOJI = Recipe(
    epochs=16,
    batch=128,
    rate=1.5e-3,
    decay=5e-2,
    smoothing=0.1,
    dtype=torch.bfloat16,
    change=chain(
        sometimes(affine(turn=15, scale=0.2, shift=0.08), 0.9),
        sometimes(colour(light=0.2, contrast=0.3, mix=0.25), 0.8),
        sometimes(one_of([blur(4), coarse(0.25), edges(4, 0.0), edges(4, 0.8)]), 0.55),
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
    torch.set_num_threads(1)
    data = load_emoji()
    examples = Examples(data=data, moves=moves_of(data), generated=load_generated(data.concepts))
    progress = Progress(
        path=folder.with_name(folder.name + ".training"),
        of=f"{data.fingerprint}, {EMOJI.epochs} epochs of {EMOJI.batch} at {EMOJI.rate}",
    )
    torch.manual_seed(0)
    start = time.perf_counter()
    fresh = grown(load_emoji_judge(), data)
    for epoch, network in train(fresh, len(examples), examples.draw, EMOJI, progress=progress):
        print(f"epoch {epoch} of {EMOJI.epochs}, {time.perf_counter() - start:.0f} s", flush=True)
        if epoch % 5 == 0:
            found = measured(network, data.pictures[::7], data.concept[::7])
            print(f"  {found}\n  read as none: {read_as_none(network, examples, 50)}", flush=True)
    publish(network, examples, folder)
    progress.remove()


def grown(shipped: EmojiJudge, data: EmojiDataset) -> EmojiClassifier:
    """The shipped classifier with a class for each concept of a data set, and one for none of them.

    A concept that it does not know begins as the mean of what it sees in that concept's pictures: from
    nothing, twenty passes over a picture or four a concept taught it to answer "none".
    """
    network = EmojiClassifier(len(data.concepts) + 1)
    known = shipped.classifier
    network.trunk.load_state_dict(known.trunk.state_dict())
    features, _ = known.read(to_house_range(data.pictures))
    rows = known.head.weight.detach()
    row_of = {concept.label: row for row, concept in enumerate(shipped.concepts)}
    with torch.no_grad():
        network.head.weight.zero_()
        for i, concept in enumerate(data.concepts):
            if concept.label in row_of:
                network.head.weight[i] = rows[row_of[concept.label]]
            else:
                seen = features[data.concept == i].mean(0)
                network.head.weight[i] = seen / seen.norm() * rows.norm(dim=1).mean()
        if len(rows) > len(shipped.concepts):  # it knows "none" already
            network.head.weight[-1] = rows[-1]
    return network


def measured(network: EmojiClassifier, pictures: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """Top-1 and top-5 on uint8 pictures as they are and under each held-out change."""
    x = to_house_range(pictures)
    kinds: dict[str, Change] = {"as they are": lambda x, _: x, **HELD_OUT}
    out = {}
    for name, change in kinds.items():
        _, logits = network.read(change(x, torch.Generator().manual_seed(0)))
        out[name] = {f"top-{within}": round(_share(logits, y, within), 4) for within in (1, 5)}
    return out


def read_as_none(network: EmojiClassifier, examples: Examples, every: int) -> dict[str, float]:
    """How often pictures are read as "none": as they are, and what each way of spoiling makes of them.

    One in `every` picture is read.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(0, len(examples), every)
    x = examples.upright(rows, generator)
    out = {"as they are": _share_of_none(network, x, examples.none)}
    for name in SHARES:
        made, y = examples.spoiled(name, rows, x, generator)
        out[name] = _share_of_none(network, made[y == examples.none], examples.none)
    return out


def publish(network: EmojiClassifier, examples: Examples, folder: Path) -> None:
    """Writes the weights in half precision, the features of the data set and its concepts.

    Its probabilities are those of the network, until `tools/calibrate_judge.py` corrects them.
    """
    data = examples.data
    network = network.half().float()  # so that the stored weights are measured
    features, _ = network.read(to_house_range(data.pictures))
    description = {
        "format": 2,
        "name": "emoji-classifier",
        "concepts": concepts_to_json(data.concepts),
        "styles": data.styles,
        "accuracy": measured(network, data.pictures, data.concept),
        "read_as_none": read_as_none(network, examples, 5),
        "temperature": 1.0,
        "none_bias": 0.0,
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


def _share_of_none(network: EmojiClassifier, x: Tensor, none: int) -> float:
    _, logits = network.read(x)
    return round((logits.argmax(1) == none).double().mean().item(), 4) if len(x) else 0.0


def _share(logits: Tensor, y: Tensor, within: int) -> float:
    """How often the right class is among the first ones."""
    return (logits.topk(within).indices == y[:, None]).any(1).double().mean().item()


if __name__ == "__main__":
    run(main)

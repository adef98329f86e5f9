"""Small data, small presets and whole training runs, also in processes of their own."""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from sfumato.core.schedule import BetaTable, Flow
from sfumato.errors import SfumatoError
from sfumato.models.networks.text_to_image import WORD
from sfumato.models.text.word_vectors import BAG
from sfumato.training.captions import Bank, CaptionedDataset
from sfumato.training.checkpoint import complete_checkpoints, read_checkpoint
from sfumato.training.data import Dataset
from sfumato.training.datasets import read_idx_dataset
from sfumato.training.ema import HalfLife, PowerFunction
from sfumato.training.loop import Progress, train
from sfumato.training.objective import ErrorOf, LogitNormalTimes, Objective, TableTimes
from sfumato.training.presets import Adam, Augment, LearningRate, MuonAdam, Preset

FOLDER = Path(__file__).parent / "data"


def digits() -> Dataset:
    """400 digits, 40 of each class, in mixed order."""
    return read_idx_dataset(
        FOLDER / "digits-images-idx3-ubyte.gz",
        FOLDER / "digits-labels-idx1-ubyte.gz",
        name="400 digits",
        classes=tuple("0123456789"),
    )


# batch norm, EMA, augmentation, label dropout, decaying rate: everything that a resumed run must not lose
NORMED = Preset(
    name="normed",
    summary="a classic UNet of four channels",
    network="classic",
    network_config={"hidden": 4, "timed": True, "classes": 10},
    conditional=True,
    objective=Objective(
        schedule=BetaTable("linear", timesteps=300),
        prediction="eps",
        times=TableTimes(),
        weighting=ErrorOf(quantity="eps"),
        drop_label=0.3,
    ),
    batch=20,  # five steps an epoch of 100 digits
    epochs=2,
    optimizer=Adam(weight_decay=0.1),
    learning_rate=LearningRate(peak=1e-3, decay="epoch", factor=0.5),
    clip=1.0,
    ema=HalfLife(pictures=100, warmup=0.5),
    augment=Augment(shift=2),
)

# no batch norm: what it computes does not depend on how a batch is shared out
PLAIN = Preset(
    name="plain",
    summary="a small residual UNet",
    network="residual",
    network_config={"width": 16, "deep": 32, "middle": 1, "classes": 10},
    conditional=True,
    objective=Objective(
        schedule=Flow(),
        prediction="flow",
        times=LogitNormalTimes(),
        weighting=ErrorOf(quantity="flow"),
        stratified=True,
        drop_label=0.1,
    ),
    batch=21,  # not to be halved
    epochs=2,
    learning_rate=LearningRate(peak=1e-3, warmup=2, decay="linear"),
    ema=HalfLife(pictures=400),
)

# asked with words
PROMPTED = Preset(
    name="prompted",
    summary="a small UNet that is asked with words",
    data="coloured squares",
    network="prompted",
    network_config={
        "side": 16,
        "widths": [16, 32, 32],
        "blocks": [1, 1, 1],
        "styles": ["a", "b"],
        "concepts": 3,
        "detail": 16,
        "augment": 10,
    },
    conditional=True,
    objective=Objective(
        schedule=Flow(),
        prediction="flow",
        times=LogitNormalTimes(mean=0.5),
        weighting=ErrorOf(quantity="flow"),
    ),
    batch=4,
    epochs=2,
    optimizer=MuonAdam(),
    learning_rate=LearningRate(peak=1e-3, decay="last"),
    ema=PowerFunction(width=0.1),
)


def captioned() -> CaptionedDataset:
    """Twelve squares of three classes and two styles, with captions of random numbers."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(12) % 3
    pictures = (labels * 80).view(-1, 1, 1, 1).expand(12, 3, 16, 16).to(torch.uint8).contiguous()
    mask = torch.rand(7, 4, generator=generator) < 0.5
    mask[:, 0] = True
    bank = Bank(
        sentence=torch.nn.functional.normalize(torch.randn(7, WORD, generator=generator), dim=1),
        tokens=torch.randn(7, 4, WORD, generator=generator),
        mask=mask,
        bag=torch.nn.functional.normalize(torch.randn(7, BAG, generator=generator), dim=1),
        text=torch.arange(7),
        things=torch.stack([torch.arange(7), torch.full((7,), -1)], dim=1),
        first=torch.tensor([0, 2, 3, 7]),
        length=torch.ones(3),
    )
    return CaptionedDataset(
        name="coloured squares",
        pictures=pictures,
        labels=labels,
        classes=("one", "two", "three"),
        bank=bank,
        style=torch.arange(12) % 2,
        styles=("a", "b"),
        named=torch.tensor([0.7, 1.0]),
        share=torch.ones(12, dtype=torch.float64),
        scenes=3,
    )


TINY = {preset.name: preset for preset in (NORMED, PLAIN)}


def run(preset: Preset, out: Path, **options: object) -> list[Progress]:
    """A whole training on 100 digits, on the CPU."""
    settings = {
        "data": digits().first(100),
        "device": "cpu",
        "precision": "no",
        "sample_epochs": (),
    } | options
    return list(train(preset, out, **settings))  # type: ignore[arg-type]


def newest(out: Path) -> dict[str, Tensor]:
    """Every tensor of the newest checkpoint."""
    groups = read_checkpoint(complete_checkpoints(out / "checkpoints")[-1]).groups
    return {f"{group}:{name}": value for group, tensors in groups.items() for name, value in tensors.items()}


def assert_same_bytes(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def child(name: str, out: Path, options: dict[str, object]) -> None:
    """A training in this process, which ends as the command line would: with the error's exit code."""
    torch.set_num_threads(1)
    try:
        run(TINY[name], out, **options)
    except SfumatoError as error:
        sys.exit(error.exit_code)


if __name__ == "__main__":  # what torchrun starts: straight, and in two sessions
    folder = Path(sys.argv[1])
    assert PartialState(cpu=True).num_processes == 2
    child("plain", folder / "straight", {"max_steps": 4})
    child("plain", folder / "resumed", {"max_steps": 2})
    child("plain", folder / "resumed", {"max_steps": 4, "resume": True})

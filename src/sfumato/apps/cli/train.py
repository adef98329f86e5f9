"""Training a preset, with a bar, samples on the way and a line for every epoch in a log."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from sfumato.apps.cli import checks, names
from sfumato.apps.cli.options import Precision
from sfumato.apps.cli.progress import note, on_terminal, progress_bar
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.core.expression import Expression
    from sfumato.models.model import Model
    from sfumato.training.loop import Progress

    Training = Generator[Progress, None, Path]

EXAMPLES = {
    "train": "sfumato train digits --out runs/digits; in several processes: "
    "accelerate launch -m sfumato.apps.cli train digits (GPUs), or torchrun --nproc_per_node 2 -m ... (CPUs)"
}
PRECISIONS = {"auto": "auto", "float32": "no", "bfloat16": "bf16"}
# Options of glibc's mallopt (malloc.h) and their values: no block is a mapping of its own, nothing is given
# back, and the heap grows by so many bytes at a time.
KEEPING = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 1 << 28)}
PER_CLASS, ENLARGE = 8, 2
PROBES = ("rocket", "skull", "panda", "dog", "old man", "sunflower", "camping", "pen", "red apple", "pizza")


def train(
    *,
    machine: Precision,
    preset: Annotated[
        str, Argument(help=f"What to train: {', '.join(names.PRESETS)}.", **checks.choice(names.PRESETS))
    ],
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="Folder of the run; runs/<preset> by default.", show_default=False),
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the newest complete checkpoint.")] = False,
    epochs: Annotated[
        int | None, Option(min=1, help="Passes over the data; by default the preset's.")
    ] = None,
    max_steps: Annotated[int | None, Option(min=1, help="Stop, save and export after this step.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Use only this many pictures, the first ones.")] = None,
    data_folder: Annotated[
        Path | None,
        Option(
            help="Folder that holds the files of the data set, or gets them; the cache by default.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, max=2**63 - 1, help="Seed of weights, order and noise.")] = 0,
    sample_at: Annotated[
        list[int] | None,
        Option(
            min=1,
            help="Epoch to draw a sheet of samples after; repeatable. Default: 1, every fifth, the last.",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        Option(help="A model of the same network, whose weights training starts from.", show_default=False),
    ] = None,
    compiled: Annotated[bool, Option("--compile", help="Use torch.compile.")] = False,
) -> None:
    """Train a model from scratch: checkpoints, loss curve, samples and the model itself go into a folder.

    Ctrl-C or SIGTERM finishes the step and saves; --resume goes on as if nothing had happened. Several
    processes are started by `accelerate launch` or `torchrun`, see the example; they divide the batch.
    """
    settings = training_settings(machine)
    folder = out or Path("runs") / preset
    try:
        from sfumato.training.loop import train
        from sfumato.training.presets import PRESETS
    except ModuleNotFoundError as error:
        raise SfumatoError(
            f"training needs {error.name}, which is not installed: pip install 'sfumato[train]'"
        ) from error
    last = epochs or PRESETS[preset].epochs
    late = [epoch for epoch in sample_at or () if epoch > last]
    if late:
        raise UsageError(f"--sample-at {late[0]}: the training has {last} epochs")
    chosen = set(sample_at or (1, *range(5, last, 5), last))
    if start_from is not None and resume:
        raise UsageError("--start-from and --resume contradict each other: a resumed run has its own weights")
    from sfumato.models.files.registry import load

    keep_memory()
    steps = train(
        preset,
        folder,
        data_folder=data_folder,
        resume=resume,
        epochs=epochs,
        max_steps=max_steps,
        limit=limit,
        seed=seed,
        compile=compiled,
        start_from=load(start_from) if start_from is not None else None,
        sample_epochs=chosen,
        on_epoch=lambda epoch, model: draw_samples(
            model, PRESETS[preset].data, folder, epoch, data_folder=data_folder
        ),
        **settings,
    )
    model = follow(preset, steps)
    if _reports():
        typer.echo(model)
        note(f"see it with: sfumato generate --model {model}")


def keep_memory() -> bool:
    """Let glibc keep the memory that this process frees; whether it does. Elsewhere nothing happens.

    Every step takes and frees the same large tensors. By itself glibc gives each of them back to the system,
    and the next one comes zeroed, page by page: a fifth of a step of `digits-denoise` (docs/log.md).
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, value) == 1 for option, value in KEEPING.values())


def follow(what: str, steps: Training) -> Path:
    """Run a training to its end and show its progress; returns the model's folder."""
    epoch = 0

    def show(progress: Progress) -> None:
        nonlocal epoch
        if not _reports():
            return
        text = (
            f"epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.4f}, "
            f"{progress.pictures_per_second:.0f} images/s"
        )
        bar.show(progress.step, progress.steps, text)
        if not on_terminal() and (progress.epoch > epoch or progress.step == progress.steps):
            epoch = progress.epoch
            note(f"step {progress.step}/{progress.steps}, {text}, {progress.seconds_left:.0f} s left")

    with progress_bar(what) as bar:
        return finish(steps, show)


def finish(steps: Training, on_progress: Callable[[Progress], None]) -> Path:
    """Run a training to its end; returns the model's folder."""
    while True:
        try:
            on_progress(next(steps))
        except StopIteration as end:
            model: Path = end.value
            return model


def draw_samples(
    model: Model, data: str, folder: Path, epoch: int, *, data_folder: Path | None = None
) -> None:
    """Write the sheet of an epoch: pictures of the model; of a model of one noise level what it denoises."""
    from sfumato.models.networks.base import Network
    from sfumato.models.text_to_image import TextConditioner

    path = folder / "samples" / f"epoch-{epoch:03d}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SfumatoError(f"cannot write {path}: {error.strerror}") from error
    if isinstance(model.conditioner, TextConditioner):
        draw_probes(model, path)
    elif isinstance(model.network, Network) and model.network.timed:
        draw_classes(model, path)
    else:
        draw_denoised(model, data, path, data_folder)


def draw_classes(model: Model, path: Path) -> None:
    """PER_CLASS pictures of every class, a row for each; of a model without classes a square of pictures."""
    from sfumato.core.expression import label, unconditional

    count = PER_CLASS if model.class_names else PER_CLASS * PER_CLASS
    expressions = [label(i) for i in range(len(model.class_names))] or [unconditional()]
    save_sheet(drawn_together(model, expressions, count), path)


def draw_probes(model: Model, path: Path) -> None:
    """Two rows: the estimate of each prompt of PROBES from pure noise, and a picture of it below.

    The estimates show soonest whether the network follows the words.
    """
    import torch

    from sfumato.core.frame import Prompt

    noise = torch.randn((1, *model.shape), generator=torch.Generator().manual_seed(0)).to(model.device)
    ones = torch.ones(len(PROBES), device=model.device)
    prompts = [Prompt(text) for text in PROBES]
    estimates = model.denoise(noise.expand(len(PROBES), -1, -1, -1), ones, prompts).x0.cpu()
    pictures = drawn_together(model, PROBES, 1, same_seed=True)
    save_sheet(torch.cat([estimates, pictures]), path, columns=len(PROBES))


def drawn_together(
    model: Model, prompts: Sequence[Expression | str], count: int, *, same_seed: bool = False
) -> Tensor:
    """`count` pictures of each prompt, (N, C, H, W), sharing passes; by default each its own seed."""
    import torch

    from sfumato.sampling import make_run, run_together

    seeds = [0 if same_seed else i * count for i in range(len(prompts))]
    runs = [make_run(model, what, seed=seed, count=count) for what, seed in zip(prompts, seeds, strict=True)]
    return torch.cat([pictures.x for pictures in run_together(runs)])


def save_sheet(x: Tensor, path: Path, columns: int = PER_CLASS) -> None:
    """Write pictures as one sheet, without a recipe: none could name the weights of a training."""
    from sfumato.pictures import grid, save_picture

    save_picture(grid(x.clamp(-1, 1), columns, enlarge=ENLARGE), path)


def draw_denoised(model: Model, data: str, path: Path, data_folder: Path | None) -> None:
    """Test pictures clean, noised and denoised in one step, one under the other."""
    import torch

    from sfumato.core.expression import unconditional
    from sfumato.study import noised, one_step_denoised
    from sfumato.training.data import to_house_range
    from sfumato.training.datasets import load_dataset

    test = load_dataset(data, split="test", cache=data_folder)
    clean = list(to_house_range(test.pictures[:PER_CLASS])[:, None])
    noisy = [noised(model.schedule, x, 1.0, seed=i) for i, x in enumerate(clean)]
    denoised = [one_step_denoised(model, x, 1.0, unconditional()) for x in noisy]
    save_sheet(torch.cat([*clean, *noisy, *denoised]), path)


def _reports() -> bool:
    """Whether this process reports; of several, the first does."""
    return os.environ.get("RANK", "0") == "0"


def training_settings(machine: Precision) -> dict[str, Any]:
    """Device and arithmetic of the options as the training loop takes them; UsageError for float16."""
    if machine.dtype not in PRECISIONS:
        raise UsageError(f"--dtype {machine.dtype} is not for training: use bfloat16 or float32")
    return {"device": machine.device, "precision": PRECISIONS[machine.dtype]}

"""Training a preset, with a bar, samples on the way and a line for every epoch in a log."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from sfumato.apps.cli import checks, names
from sfumato.apps.cli.options import Arithmetic
from sfumato.apps.cli.progress import note, on_terminal, progress_bar
from sfumato.apps.cli.sheets import one_of_each, save_sheet
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.models.model import Model
    from sfumato.models.text_to_image import PromptedModel
    from sfumato.training.loop import Progress

EXAMPLES = {
    "train": "sfumato train digits --out runs/digits; in several processes: "
    "accelerate launch -m sfumato.apps.cli train digits (GPUs), or torchrun --nproc_per_node 2 -m ... (CPUs)"
}
PRECISIONS: dict[str, Literal["auto", "no", "bf16"]] = {"auto": "auto", "float32": "no", "bfloat16": "bf16"}
# Options of glibc's mallopt (malloc.h) and their values: no block is a mapping of its own, nothing is given
# back, and the heap grows by so many bytes at a time.
KEEPING = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 1 << 28)}
PER_CLASS, ENLARGE = 8, 2
PROBES = ("rocket", "skull", "panda", "dog", "old man", "sunflower", "camping", "pen", "red apple", "pizza")


def train(
    *,
    machine: Arithmetic,
    preset: Annotated[
        str,
        Argument(
            help=f"What to train: {', '.join(names.PRESETS)}.",
            callback=checks.one_of(names.PRESETS),
            autocompletion=names.completing(names.PRESETS),
        ),
    ],
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="Folder of the run; runs/<preset> by default.", show_default=False),
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the newest complete checkpoint.")] = False,
    epochs: Annotated[
        int | None, Option(min=1, help="Passes over the data; the preset's by default.")
    ] = None,
    max_steps: Annotated[int | None, Option(min=1, help="Stop, save and export after this step.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Use the first so many pictures only.")] = None,
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
        Option(help="A model of the same network whose weights are the first ones.", show_default=False),
    ] = None,
    compiled: Annotated[bool, Option("--compile", help="Use torch.compile.")] = False,
) -> None:
    """Train a model from scratch: checkpoints, loss curve, samples and the model itself go into a folder.

    Ctrl-C or SIGTERM finishes the step and saves; --resume goes on as if nothing had happened. Several
    processes are started by `accelerate launch` or `torchrun`, see the example; they divide the batch.
    """
    if machine.dtype not in PRECISIONS:
        raise UsageError(f"training in {machine.dtype} is not offered: use bfloat16 or float32")
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
        raise UsageError("--start-from: a run that is resumed goes on from its own weights")
    from sfumato.models.files.registry import load

    keep_memory()
    steps = train(
        preset,
        folder,
        resume=resume,
        epochs=epochs,
        max_steps=max_steps,
        limit=limit,
        seed=seed,
        device=training_device(machine.device),
        precision=PRECISIONS[machine.dtype],
        compile=compiled,
        start_from=load(start_from) if start_from is not None else None,
        sample_epochs=chosen,
        on_epoch=lambda epoch, model: draw_samples(model, PRESETS[preset].data, folder, epoch),
    )
    model = follow(preset, steps)
    if _speaks():
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


def follow(what: str, steps: Generator[Progress, None, Path]) -> Path:
    """Run a training to its end, showing where it stands; returns the model's folder."""
    epoch = 0
    with progress_bar(what) as bar:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                model: Path = end.value
                return model
            text = (
                f"epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.4f}, "
                f"{progress.pictures_per_second:.0f} images/s"
            )
            if not _speaks():
                continue
            bar.show(progress.step, progress.steps, text)
            if not on_terminal() and (progress.epoch > epoch or progress.step == progress.steps):
                epoch = progress.epoch
                note(f"step {progress.step}/{progress.steps}, {text}, {progress.seconds_left:.0f} s left")


def draw_samples(model: Model, data: str, folder: Path, epoch: int) -> None:
    """The sheet of an epoch: what the model draws or, for a model of one noise level, what it denoises."""
    from sfumato.models.text_to_image import PromptedModel

    path = folder / "samples" / f"epoch-{epoch:03d}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SfumatoError(f"cannot write {path}: {error.strerror}") from error
    if isinstance(model, PromptedModel):
        draw_asked(model, path)
    elif model.network.timed:
        count = PER_CLASS if model.class_names else PER_CLASS * PER_CLASS
        sheet = one_of_each(model, count, seed=0)  # of weights that no recipe could name
        save_sheet(sheet, path, columns=PER_CLASS, enlarge=ENLARGE, metadata=False)
    else:
        draw_denoised(model, data, path)


def draw_asked(model: PromptedModel, path: Path) -> None:
    """For each of PROBES the estimate from pure noise, which tells soonest whether the words are heard, and a
    picture; one under the other.
    """
    import torch

    from sfumato.core.frame import Prompt
    from sfumato.pictures import grid, save_picture
    from sfumato.sampling import make_recipe, run_together

    noise = torch.randn((1, *model.shape), generator=torch.Generator().manual_seed(0)).to(model.device)
    ones = torch.ones(len(PROBES), device=model.device)
    prompts = [Prompt(text) for text in PROBES]
    estimates = model.denoise(noise.expand(len(PROBES), -1, -1, -1), ones, prompts).x0.cpu()
    made = run_together([make_recipe(model, text, seed=0) for text in PROBES], model)
    x = torch.cat([estimates, *(pictures.x for pictures in made)])
    save_picture(grid(x.clamp(-1, 1), len(PROBES), enlarge=ENLARGE), path)


def draw_denoised(model: Model, data: str, path: Path) -> None:
    """Test pictures clean, noised and denoised in one step, one under the other."""
    import torch

    from sfumato.core.expression import unconditional
    from sfumato.pictures import grid, save_picture
    from sfumato.study import noised, one_step_denoised
    from sfumato.training.data import to_house_range
    from sfumato.training.datasets import load_dataset

    pictures = to_house_range(load_dataset(data, split="test").pictures[:PER_CLASS])
    clean = [picture[None] for picture in pictures]
    noisy = [noised(model.schedule, x, 1.0, seed=i) for i, x in enumerate(clean)]
    denoised = [one_step_denoised(model, x, 1.0, unconditional()) for x in noisy]
    sheet = grid(torch.cat([*clean, *noisy, *denoised]).clamp(-1, 1), PER_CLASS, enlarge=ENLARGE)
    save_picture(sheet, path)


def _speaks() -> bool:
    """Whether this is the process that reports: of several, the first."""
    return os.environ.get("RANK", "0") == "0"


def training_device(name: str) -> Literal["auto", "cpu", "cuda", "mps"]:
    """The name, which its option has checked, as the training loop takes it."""
    match name:
        case "cpu" | "cuda" | "mps":
            return name
        case _:
            return "auto"

"""The training loop: a generator that yields one progress record per optimiser step.

Contract: a step follows from (preset, data, seed, step) and the state before it. So a run that was stopped
and resumed ends in the same bytes as one that was not. The global batch is the same for any number of
processes. Everything that can be refused is refused before the first step. Nothing here prints.

The folder of a run:

    checkpoints/step-00001234/   the newest complete checkpoints
    history.jsonl, tensorboard/  loss, learning rate and gradient norm of every step
    loss.svg                     the loss curve
    model/                       the exported model, at the end
"""

import copy
import math
import signal
import time
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sfumato.errors import SfumatoError, UsageError
from sfumato.models.files.saved import build_model, save_model
from sfumato.models.model import Model
from sfumato.pictures.files import publish
from sfumato.training import optimizer as optimizers
from sfumato.training.batches import Batches, derive_seed
from sfumato.training.checkpoint import (
    checkpoint_path,
    complete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from sfumato.training.data import Dataset
from sfumato.training.datasets import load_dataset
from sfumato.training.devices import Device, Precision, make_accelerator
from sfumato.training.history import History, TrainingStep
from sfumato.training.loss_curve import draw_loss_curve
from sfumato.training.presets import Preset
from sfumato.training.presets import preset as preset_named
from sfumato.training.record import record_of
from sfumato.training.signals import StopSignals, TrainingStopped
from sfumato.training.state import TrainingState, check_same_run, new_network
from sfumato.version import __version__

OnEpoch = Callable[[int, Model], None]


@dataclass(frozen=True, kw_only=True)
class Progress(TrainingStep):
    """Where a training stands after an optimiser step.

    Attributes:
        step, loss, learning_rate, gradient_norm: see `TrainingStep`.
        steps: how many steps there are.
        epoch, epochs: the epoch of this step, from 1, and how many there are.
        pictures_per_second, seconds_left: measured over this session so far.
        saved: the checkpoint that was written after this step, if any.
    """

    steps: int
    epoch: int
    epochs: int
    pictures_per_second: float
    seconds_left: float
    saved: Path | None


def train(
    preset: str | Preset,
    out_dir: Path,
    *,
    data: Dataset | None = None,
    data_folder: Path | None = None,
    resume: bool = False,
    epochs: int | None = None,
    max_steps: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    compile: bool = False,
    start_from: Model | None = None,
    sample_epochs: Collection[int] | None = None,
    on_epoch: OnEpoch | None = None,
    save_every_seconds: float = 300.0,
    save_every_steps: int | None = None,
) -> Generator[Progress, None, Path]:
    """Trains a preset; run it in one process, or in several with `accelerate launch`.

    Args:
        preset: a name in `PRESETS`, or a preset of your own.
        out_dir: the folder of the run.
        data: a data set instead of the preset's.
        data_folder: holds the files of the preset's data set, instead of the cache (`load_dataset`).
        resume: go on from the newest complete checkpoint in `out_dir`.
        epochs: instead of the preset's number. A resumed run of constant rate may get more than before.
        max_steps: stop after this step, save and export. The learning rate still follows `epochs`.
        limit: use the first `limit` pictures only.
        seed: of weights, order and noise.
        device, precision: see `make_accelerator`.
        compile: use torch.compile.
        start_from: a model whose weights are the first ones, of the same network or of a smaller one that it
            grew from; not needed to resume.
        sample_epochs, on_epoch: after these epochs (after every one if None) the main process draws the loss
            curve and calls `on_epoch(epoch, model)`; the model has the averaged weights, if there are any.
        save_every_seconds, save_every_steps: when checkpoints are written; the first and last step's always.

    Returns:
        A generator of `Progress`; its return value is the exported model's folder, `out_dir / "model"`.

    Raises:
        UsageError: at once, for a bad argument, an unknown preset, or a folder that does not fit `resume`.
        SfumatoError: at once, for data or a checkpoint that cannot be read; while running, for a loss that is
            not finite (before the optimiser step) or a folder that cannot be written.
        TrainingStopped: while running, after SIGTERM or SIGINT, when the checkpoint is complete.
    """
    chosen = preset_named(preset) if isinstance(preset, str) else preset
    if epochs is not None:
        chosen = chosen.lasting(epochs)
    for name, value in {"max_steps": max_steps, "save_every_steps": save_every_steps}.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1")
    if save_every_seconds <= 0:
        raise UsageError(f"save_every_seconds is {save_every_seconds}; it must be above 0")
    found = data if data is not None else load_dataset(chosen.data, cache=data_folder)
    trainer = _Trainer(
        chosen,
        out_dir,
        found if limit is None else found.first(limit),
        seed=seed,
        accelerator=make_accelerator(device, precision),
        compile=compile,
        start_from=start_from,
    )
    trainer.begin(resume)
    return trainer.run(
        max_steps=max_steps,
        sample_epochs=sample_epochs,
        on_epoch=on_epoch,
        save_due=_SaveDue(save_every_seconds, save_every_steps),
    )


@dataclass
class _SaveDue:
    """Whether a checkpoint is due: `seconds` after the last one, or after every `steps` steps."""

    seconds: float
    steps: int | None
    last: float = 0.0  # when the last one was written

    def after(self, step: int) -> bool:
        by_steps = self.steps is not None and step % self.steps == 0
        return by_steps or time.monotonic() - self.last >= self.seconds


class _Trainer:
    """One run: its data, its state and its steps."""

    def __init__(
        self,
        preset: Preset,
        out_dir: Path,
        data: Dataset,
        *,
        seed: int,
        accelerator: Accelerator,
        compile: bool,
        start_from: Model | None,
    ) -> None:
        self.preset, self.data, self.seed, self.accelerator = preset, data, seed, accelerator
        self.out_dir, self.checkpoints = out_dir, out_dir / "checkpoints"
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.batches = Batches(
            data, preset, seed=seed, device=accelerator.device, rank=rank, processes=processes
        )
        self.total = preset.epochs * self.batches.per_epoch
        network = new_network(preset, seed, start_from)
        if start_from is None or start_from.network.config() != network.config():
            data.initialise_from_data(network)
        self.shown = copy.deepcopy(network)  # for hooks and the export; never trained
        if processes > 1 and accelerator.device.type == "cuda":
            # elsewhere each process normalises over its own share, torch having no synchronised form there
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        bf16 = accelerator.mixed_precision == "bf16"
        self.state = TrainingState(network, preset, torch.bfloat16 if bf16 else torch.float32)
        forward: Any = accelerator.prepare(network)
        self.forward = data.conditioned_forward(torch.compile(forward) if compile else forward)

    def begin(self, resume: bool) -> None:
        """Writes the first checkpoint, or reads the newest one."""
        complete = complete_checkpoints(self.checkpoints)
        self.accelerator.wait_for_everyone()  # every process has looked before one writes
        if resume:
            if not complete:
                raise UsageError(f"nothing to resume: {self.checkpoints} holds no complete checkpoint")
            found = read_checkpoint(complete[-1])
            check_same_run(complete[-1], found.facts, self._facts())
            self.state.restore(found, complete[-1])
        elif complete:
            raise UsageError(f"{self.out_dir} holds a run already: resume it, or choose another folder")
        else:
            self._save()

    def _facts(self) -> dict[str, Any]:
        return {"preset": self.preset.describe(), "data": self.data.fingerprint, "seed": self.seed}

    def _save(self) -> Path:
        """Writes a checkpoint in the main process, for which the others wait."""
        if self.accelerator.is_main_process:
            write_checkpoint(self.checkpoints, self.state.capture(self._facts()))
        self.accelerator.wait_for_everyone()
        return checkpoint_path(self.checkpoints, self.state.step)

    def run(
        self,
        *,
        max_steps: int | None,
        sample_epochs: Collection[int] | None,
        on_epoch: OnEpoch | None,
        save_due: _SaveDue,
    ) -> Generator[Progress, None, Path]:
        """The loop; see `train`."""
        main, state = self.accelerator.is_main_process, self.state
        first, start = state.step, time.monotonic()
        last = self.total if max_steps is None else min(self.total, max_steps)
        with StopSignals() as signals, ExitStack() as stack:
            history = stack.enter_context(closing(History(self.out_dir, first))) if main else None
            save_due.last = start
            while state.step < last:
                done, stop, due = self._step(signals, save_due)
                if history is not None:
                    history.add(done)
                epoch, position = divmod(state.step, self.batches.per_epoch)
                shown = position == 0 and (sample_epochs is None or epoch in sample_epochs)
                saved = None
                if due or stop or state.step == last or shown:
                    if history is not None:
                        history.flush()
                    saved = self._save()
                    save_due.last = time.monotonic()
                if main and shown and not stop:  # after the checkpoint: samples may take long
                    self._draw_loss_curve()
                    if on_epoch is not None:
                        on_epoch(epoch, self._model())
                seconds = max(time.monotonic() - start, 1e-9) / (state.step - first)  # of a step
                yield Progress(
                    **vars(done),
                    steps=last,
                    epoch=(done.step - 1) // self.batches.per_epoch + 1,
                    epochs=self.preset.epochs,
                    pictures_per_second=self.preset.batch / seconds,
                    seconds_left=(last - done.step) * seconds,
                    saved=saved,
                )
                if stop:
                    raise TrainingStopped(
                        f"stopped by {stop.name} after step {state.step}; resume {self.out_dir} to go on",
                        stop,
                    )
        if main:
            self._draw_loss_curve()
            save_model(self._model(), self.out_dir / "model")
        self.accelerator.wait_for_everyone()
        return self.out_dir / "model"

    def _step(
        self, signals: StopSignals, save_due: _SaveDue
    ) -> tuple[TrainingStep, signal.Signals | None, bool]:
        """One optimiser step; also whether to stop and whether to save, the same in all processes."""
        preset, state = self.preset, self.state
        rate = preset.learning_rate.at(state.step, per_epoch=self.batches.per_epoch, total=self.total)
        share = self._backward()
        gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # Sums over all processes: one exchange and one wait for the device per step.
        step, processes = state.step + 1, self.accelerator.num_processes
        notes = [
            float(signals.received == signal.SIGTERM),
            float(signals.received == signal.SIGINT),
            float(self.accelerator.is_main_process and save_due.after(step)),
        ]
        known = torch.cat([torch.stack([share, norm / processes]), share.new_tensor(notes)])
        loss, gradient_norm, terminated, interrupted, due = self.accelerator.reduce(known, "sum").tolist()
        done = TrainingStep(step=step, loss=loss, learning_rate=rate, gradient_norm=gradient_norm)
        self._refuse_nonfinite(done)
        if preset.clip is not None:
            nn.utils.clip_grads_with_norm_(state.network.parameters(), preset.clip, norm)
        optimizers.set_learning_rate(state.optimizer, rate)
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update(state.network, preset.batch)
        state.step = step
        return done, signal.SIGTERM if terminated else signal.SIGINT if interrupted else None, bool(due)

    def _backward(self) -> Tensor:
        """Leaves the global batch's gradients in the network; returns this process's share of the loss."""
        preset, accelerator, step = self.preset, self.accelerator, self.state.step
        # the network's own random numbers (dropout) must not depend on what ran before this step
        torch.manual_seed(derive_seed(self.seed, "network", step, accelerator.process_index))
        batch = self.batches.at(step)
        self.state.network.train()
        losses = preset.objective.loss(self.forward, batch.x0, batch.condition, batch.random)  # (b,)
        share = losses.sum() / preset.batch
        self.state.optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over processes. accelerator.backward would also divide by a number that a
        # launcher may have put into the environment.
        (share * accelerator.num_processes).backward()
        return share.detach()

    def _refuse_nonfinite(self, done: TrainingStep) -> None:
        for what, value in (("loss", done.loss), ("gradient norm", done.gradient_norm)):
            if not math.isfinite(value):
                raise SfumatoError(
                    f"the {what} became {value} at step {done.step} "
                    f"(learning rate {done.learning_rate:g}); stopped before the optimiser step. "
                    f"Try a lower rate or clip; the newest checkpoint is in {self.checkpoints}"
                )

    def _draw_loss_curve(self) -> None:
        curve = draw_loss_curve(record_of(self.out_dir, self.preset.name, ()))
        publish(self.out_dir / "loss.svg", curve.encode())

    def _model(self) -> Model:
        """The model so far: a copy of the network with the averaged weights, if there are any."""
        state = self.state
        self.shown.load_state_dict(state.ema.average if state.ema is not None else state.network.state_dict())
        return build_model(
            self.shown.to(self.accelerator.device),
            name=self.preset.name,
            schedule=self.preset.objective.schedule,
            prediction=self.preset.objective.prediction,
            shape=self.data.shape,
            defaults=self.preset.sampling,
            class_names=self.data.classes if self.shown.classes is not None else (),
            provenance=self._facts()
            | self.data.known
            | {"data_name": self.data.name, "step": state.step, "version": __version__},
        )

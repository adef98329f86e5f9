"""The training loop: a generator that yields one progress record per optimiser step.

Contract: what a step does follows from (preset, data, seed, step) and the state before it, so a run that is
stopped and resumed ends in the same bytes as one that was not; the global batch is the same whatever the
number of processes. Everything that can be refused is refused before the first step. Faces print; this does
not.

A run's folder:

    checkpoints/step-00001234/   the newest complete checkpoints
    history.jsonl, tensorboard/  loss, learning rate and gradient norm of every step
    loss.png                     the loss curve
    model/                       the exported model, at the end
"""

import copy
import math
import signal
from collections.abc import Collection, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sfumato import __version__
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.files.saved import model_of, save_model
from sfumato.models.model import Model
from sfumato.training import optimizer as optimizers
from sfumato.training.batches import Batches, derive_seed
from sfumato.training.cadence import Clock, OnEpoch, Samples, SaveRule
from sfumato.training.checkpoint import (
    checkpoint_path,
    complete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from sfumato.training.data import Dataset
from sfumato.training.datasets import load_dataset
from sfumato.training.devices import Device, Precision, make_accelerator
from sfumato.training.figures import draw_loss_curve
from sfumato.training.history import Entry, History, read_history
from sfumato.training.presets import Preset
from sfumato.training.presets import preset as preset_named
from sfumato.training.signals import StopSignals, TrainingStopped
from sfumato.training.state import TrainingState, check_same_run, new_network


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands after an optimiser step.

    Attributes:
        step, steps: done and in all.
        epoch, epochs: the pass this step belongs to, from 1, and in all.
        loss, learning_rate, gradient_norm: of this step; the loss is the mean over the global batch.
        pictures_per_second, seconds_left: over this session so far.
        saved: the checkpoint that was written after this step, if any.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    gradient_norm: float
    pictures_per_second: float
    seconds_left: float
    saved: Path | None


def train(
    preset: str | Preset,
    out_dir: Path,
    *,
    data: Dataset | None = None,
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
        preset: a name in `PRESETS`, or a preset of one's own.
        out_dir: the run's folder.
        data: instead of the preset's data set.
        resume: go on from the newest complete checkpoint in `out_dir`.
        epochs: instead of the preset's number; a resumed run of constant rate may be given more than before.
        max_steps: stop after this step, save and export; the learning rate still follows `epochs`.
        limit: use the first so many pictures only.
        seed: of weights, order and noise.
        device, precision: see `make_accelerator`.
        compile: use torch.compile.
        start_from: a model whose weights are the first ones, of the same network or of a smaller one that it
            grew from; not needed to resume.
        sample_epochs, on_epoch: after these epochs (after every one if None) the loss curve is drawn and
            `on_epoch(epoch, model)` called, in the main process, with a model of the averaged weights if
            there are any.
        save_every_seconds, save_every_steps: when checkpoints are written, beside the first and last step's.

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
    found = data if data is not None else load_dataset(chosen.data)
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
    samples = Samples(epochs=sample_epochs, hook=on_epoch)
    return trainer.run(max_steps, samples, SaveRule(seconds=save_every_seconds, steps=save_every_steps))


class _Trainer:
    """One run: its state, and what is done to it."""

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
        self.batches = Batches(
            data,
            preset,
            seed=seed,
            device=accelerator.device,
            rank=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        self.total = preset.epochs * self.batches.per_epoch
        network = new_network(preset, seed, start_from)
        if start_from is None or start_from.network.config() != network.config():
            data.acquaint(network)
        self.shown = copy.deepcopy(network)  # what hooks and the export see; never trained
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            # elsewhere each process normalises over its own share, torch having no synchronised form there
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        bf16 = accelerator.mixed_precision == "bf16"
        self.state = TrainingState(network, preset, torch.bfloat16 if bf16 else torch.float32)
        forward: Any = accelerator.prepare(network)
        self.forward = data.asking(torch.compile(forward) if compile else forward)

    # -- beginning and resuming

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
        """The main process writes; the others wait."""
        if self.accelerator.is_main_process:
            write_checkpoint(self.checkpoints, self.state.capture(self._facts()))
        self.accelerator.wait_for_everyone()
        return checkpoint_path(self.checkpoints, self.state.step)

    # -- running

    def run(self, max_steps: int | None, samples: Samples, rule: SaveRule) -> Generator[Progress, None, Path]:
        """The loop; see `train`."""
        main, state = self.accelerator.is_main_process, self.state
        last = self.total if max_steps is None else min(self.total, max_steps)
        clock = Clock(first=state.step, last=last, batch=self.preset.batch)
        with StopSignals() as signals, ExitStack() as stack:
            history = stack.enter_context(closing(History(self.out_dir, state.step))) if main else None
            rule.restart()
            while state.step < last:
                entry, stop, due = self._step(signals, rule)
                if history is not None:
                    history.add(entry)
                saved = None
                if due or stop or state.step == last or self._shows(samples):
                    if history is not None:
                        history.flush()
                    saved = self._save()
                    rule.restart()
                if main and not stop:  # after the checkpoint: samples may take long
                    self._after_epoch(samples)
                yield self._progress(entry, clock, saved)
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

    def _step(self, signals: StopSignals, rule: SaveRule) -> tuple[Entry, signal.Signals | None, bool]:
        """One optimiser step; also whether to stop and whether to save, on which all processes agree."""
        preset, state = self.preset, self.state
        rate = preset.learning_rate.at(state.step, per_epoch=self.batches.per_epoch, total=self.total)
        share = self._backward()
        gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        entry, stop, due = self._agree(share, norm, rate, signals, rule)
        self._refuse_nonfinite(entry)
        if preset.clip is not None:
            nn.utils.clip_grads_with_norm_(state.network.parameters(), preset.clip, norm)
        optimizers.set_learning_rate(state.optimizer, rate)
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update(state.network, preset.batch)
        state.step += 1
        return entry, stop, due

    def _backward(self) -> Tensor:
        """Leaves the global batch's gradients in the network; returns this process's share of the loss."""
        preset, accelerator, step = self.preset, self.accelerator, self.state.step
        # what a network draws by itself (dropout) must not depend on what ran before this step
        torch.manual_seed(derive_seed(self.seed, "network", step, accelerator.process_index))
        batch = self.batches.at(step)
        self.state.network.train()
        losses = preset.objective.loss(self.forward, batch.x0, batch.label, batch.draw)  # (b,)
        share = losses.sum() / preset.batch
        self.state.optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over processes. Not accelerator.backward: it divides by what a launcher may
        # have put into the environment.
        (share * accelerator.num_processes).backward()
        return share.detach()

    def _agree(
        self, share: Tensor, norm: Tensor, rate: float, signals: StopSignals, rule: SaveRule
    ) -> tuple[Entry, signal.Signals | None, bool]:
        """Sums what the processes know: one exchange, and one wait for the device, per step."""
        step, processes = self.state.step + 1, self.accelerator.num_processes
        notes = [
            float(signals.received == signal.SIGTERM),
            float(signals.received == signal.SIGINT),
            float(self.accelerator.is_main_process and rule.due(step)),
        ]
        known = torch.cat([torch.stack([share, norm / processes]), share.new_tensor(notes)])
        loss, gradient_norm, terminated, interrupted, due = self.accelerator.reduce(known, "sum").tolist()
        entry = Entry(step=step, loss=loss, learning_rate=rate, gradient_norm=gradient_norm)
        stop = signal.SIGTERM if terminated else signal.SIGINT if interrupted else None
        return entry, stop, bool(due)

    def _refuse_nonfinite(self, entry: Entry) -> None:
        for what, value in (("loss", entry.loss), ("gradient norm", entry.gradient_norm)):
            if not math.isfinite(value):
                raise SfumatoError(
                    f"the {what} became {value} at step {entry.step} "
                    f"(learning rate {entry.learning_rate:g}); stopped before the optimiser step. "
                    f"Try a lower rate or clip; the newest checkpoint is in {self.checkpoints}"
                )

    # -- what a run shows

    def _shows(self, samples: Samples) -> bool:
        """Whether an epoch ended that is to be shown."""
        epoch, position = divmod(self.state.step, self.batches.per_epoch)
        return position == 0 and samples.wanted(epoch)

    def _after_epoch(self, samples: Samples) -> None:
        if not self._shows(samples):
            return
        self._draw_loss_curve()
        if samples.hook is not None:
            samples.hook(self.state.step // self.batches.per_epoch, self._model())

    def _progress(self, entry: Entry, clock: Clock, saved: Path | None) -> Progress:
        rate, left = clock.at(entry.step)
        return Progress(
            step=entry.step,
            steps=clock.last,
            epoch=(entry.step - 1) // self.batches.per_epoch + 1,
            epochs=self.preset.epochs,
            loss=entry.loss,
            learning_rate=entry.learning_rate,
            gradient_norm=entry.gradient_norm,
            pictures_per_second=rate,
            seconds_left=left,
            saved=saved,
        )

    def _draw_loss_curve(self) -> None:
        draw_loss_curve(read_history(self.out_dir), self.out_dir / "loss.png", self.preset.name)

    def _model(self) -> Model:
        """What the training has come to: the averaged weights, if there are any, in a network of its own."""
        state = self.state
        self.shown.load_state_dict(state.ema.average if state.ema is not None else state.network.state_dict())
        return model_of(
            self.shown.to(self.accelerator.device),
            name=self.preset.name,
            schedule=self.preset.objective.schedule,
            prediction=self.preset.objective.prediction,
            shape=self.data.shape,
            defaults=self.preset.sampling,
            class_names=self.data.classes if self.shown.classes is not None else (),
            provenance={
                **self._facts(),
                "data_name": self.data.name,
                "step": state.step,
                "version": __version__,
            },
        )

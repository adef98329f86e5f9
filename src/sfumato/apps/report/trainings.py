"""The models of Part B and their trainings: trained here, or as they ship."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.apps.report.workspace import OnProgress
from sfumato.errors import SfumatoError
from sfumato.training.presets import PRESETS
from sfumato.training.record import FILE, Record, read_record, record_of, sheet_name

if TYPE_CHECKING:
    import torch

    from sfumato.models.model import Model

Epochs = tuple[int, ...]
# Trains a preset into a folder to the end, or resumes it. It draws the sheets of the epochs, reports progress
# and returns the model's folder.
Train = Callable[[str, Path, Epochs, OnProgress], Path]


@dataclass(frozen=True)
class Trained:
    """The model of a preset; the record of its training with the folder of its sheets, if there is one."""

    preset: str
    model: Model
    record: Record | None
    sheets: Path

    def sheet(self, epoch: int) -> Path | None:
        """The sheet of an epoch, where it was drawn."""
        there = self.record is not None and epoch in self.record.sheets
        return self.sheets / sheet_name(epoch) if there else None


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """The models of Part B. runs: where they are trained; None takes what ships. train: how."""

    runs: Path | None
    device: torch.device
    dtype: torch.dtype
    train: Train | None = None

    def find(self, name: str, epochs: Epochs, on_progress: OnProgress) -> Trained | None:
        """The model of a preset with its training; None where neither ships."""
        if self.runs is None or self.train is None:
            return self._shipped(name)
        run = self.runs / name
        folder = self.train(name, run, epochs, on_progress)
        record = record_of(run, name, epochs)
        per_epoch = record.steps // PRESETS[name].epochs or None
        record = record.model_copy(update={"per_epoch": per_epoch})
        return Trained(name, self._load(str(folder)), record, run / "samples")

    def state(self) -> list[str]:
        """What the sections of Part B depend on: the weights and records that ship."""
        from sfumato.models.files.registry import MODELS, weights_folder

        if self.runs is not None:
            return ["trained here"]
        folders = [weights_folder(name) for name in MODELS if name.startswith("digits")]
        files = [folder / file for folder in folders for file in ("model.json", FILE)]
        return [hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files]

    def _shipped(self, name: str) -> Trained | None:
        from sfumato.models.files.registry import MODELS, weights_folder

        if name not in MODELS:
            return None
        folder = weights_folder(name)
        return Trained(name, self._load(name), read_record(folder), folder)

    def _load(self, name: str) -> Model:
        from sfumato.models.files.registry import load

        return load(name, device=self.device, dtype=self.dtype)


def copy_sheet(sheet: Path, to: Path) -> None:
    """Put a sheet beside the page."""
    try:
        shutil.copyfile(sheet, to)
    except OSError as error:
        raise SfumatoError(f"cannot copy {sheet}: {error.strerror or error}") from error

"""The record of a training, small enough to ship beside the weights: a thinned loss curve, sheets of epochs.

`training.json` holds it; `python -m tools.record_training` writes it, the report reads it.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfumato.errors import SfumatoError, UsageError
from sfumato.training.history import TrainingStep, read_history

FILE = "training.json"
BINS = 300  # points of a thinned curve at most


class Point(BaseModel):
    """The losses of a stretch of steps: the number of its last step, their mean, lowest and highest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: int = Field(ge=1)
    mean: float
    low: float
    high: float


class Record(BaseModel):
    """How a training went.

    steps: how many steps were taken. per_epoch: steps of an epoch, where that is known. sheets: the epochs
    whose sheet lies in the same folder as `sheet_name(epoch)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    preset: str
    steps: int = Field(ge=1)
    per_epoch: int | None = Field(default=None, ge=1)
    curve: tuple[Point, ...] = Field(min_length=1)
    sheets: tuple[Annotated[int, Field(ge=1)], ...] = ()


def sheet_name(epoch: int) -> str:
    """The file name of an epoch's sheet, in a run's `samples` and beside a record."""
    return f"epoch-{epoch:03d}.png"


def thinned(history: Sequence[TrainingStep], bins: int = BINS) -> tuple[Point, ...]:
    """At most `bins` stretches of about equal length, which together hold every step."""
    if not history:
        raise UsageError("a training without a step has no loss curve")
    count = min(bins, len(history))
    edges = [round(i * len(history) / count) for i in range(count + 1)]
    points = []
    for start, stop in itertools.pairwise(edges):
        losses = [done.loss for done in history[start:stop]]
        mean = sum(losses) / len(losses)
        points.append(Point(step=history[stop - 1].step, mean=mean, low=min(losses), high=max(losses)))
    return tuple(points)


def record_of(run: Path, preset: str, epochs: Sequence[int], *, per_epoch: int | None = None) -> Record:
    """The record of a run's folder, with the sheets of these epochs that are there.

    Raises:
        SfumatoError: the folder holds no history.
    """
    history = read_history(run)
    if not history:
        raise SfumatoError(f"{run} holds no history of a training: give the folder of a run")
    there = tuple(epoch for epoch in epochs if (run / "samples" / sheet_name(epoch)).is_file())
    curve = thinned(history)
    return Record(preset=preset, steps=curve[-1].step, per_epoch=per_epoch, curve=curve, sheets=there)


def read_record(folder: Path) -> Record | None:
    """The record in a model's folder; None where there is none.

    Raises:
        SfumatoError: it is damaged.
    """
    path = folder / FILE
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SfumatoError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise SfumatoError(f"{path} is damaged: make it again from the run's folder") from error

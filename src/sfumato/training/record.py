"""The record of a training in a small form, to ship beside weights: a thinned loss curve, sheets of epochs.

    python -m sfumato.training.record runs/digits-time src/sfumato/weights/digits-time --epoch 5 --epoch 20

A folder then holds `training.json` and `epoch-005.png`, ...; the report reads them where it does not train.
Reading needs nothing but pydantic; writing reads a run's folder, so it needs the training extra.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.training.history import Entry

FILE = "training.json"
BINS = 300  # points of a thinned curve at most


class Point(BaseModel):
    """The losses of a stretch of steps: the last of them, the mean, the least and the most."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: int = Field(ge=1)
    mean: float
    low: float
    high: float


class Record(BaseModel):
    """How a training went.

    steps: how many were taken; per_epoch: how many make an epoch, where that is known. sheets: the epochs
    whose sheet lies beside, `sheet_name(epoch)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    preset: str
    steps: int = Field(ge=1)
    per_epoch: int | None = Field(default=None, ge=1)
    curve: tuple[Point, ...] = Field(min_length=1)
    sheets: tuple[Annotated[int, Field(ge=1)], ...] = ()


def sheet_name(epoch: int) -> str:
    """The file of an epoch's sheet, in a run's `samples` and beside a record."""
    return f"epoch-{epoch:03d}.png"


def thinned(entries: Sequence[Entry], bins: int = BINS) -> tuple[Point, ...]:
    """At most `bins` stretches of steps of about one length, none left out."""
    if not entries:
        raise UsageError("a training without a step has no loss curve")
    count = min(bins, len(entries))
    edges = [round(i * len(entries) / count) for i in range(count + 1)]
    points = []
    for start, stop in itertools.pairwise(edges):
        losses = [entry.loss for entry in entries[start:stop]]
        points.append(
            Point(
                step=entries[stop - 1].step,
                mean=sum(losses) / len(losses),
                low=min(losses),
                high=max(losses),
            )
        )
    return tuple(points)


def record_of(run: Path, preset: str, epochs: Sequence[int], *, per_epoch: int | None = None) -> Record:
    """The record of a run's folder, with those of the epochs whose sheet is there.

    Raises:
        SfumatoError: the folder holds no history.
    """
    from sfumato.training.history import read_history

    entries = read_history(run)
    if not entries:
        raise SfumatoError(f"{run} holds no history of a training: give the folder of a run")
    there = tuple(epoch for epoch in epochs if (run / "samples" / sheet_name(epoch)).is_file())
    return Record(
        preset=preset, steps=entries[-1].step, per_epoch=per_epoch, curve=thinned(entries), sheets=there
    )


def write_record(record: Record, run: Path, folder: Path) -> list[Path]:
    """Put a record and its sheets into a folder, which must exist; returns what was written.

    Raises:
        SfumatoError: the folder cannot be written.
    """
    written = []
    try:
        for epoch in record.sheets:
            path = folder / sheet_name(epoch)
            shutil.copyfile(run / "samples" / sheet_name(epoch), path)
            written.append(path)
        path = folder / FILE
        path.write_text(record.model_dump_json(indent=None) + "\n", encoding="utf-8")
    except OSError as error:
        raise SfumatoError(f"cannot write into {folder}: {error.strerror or error}") from error
    return [*written, path]


def read_record(folder: Path) -> Record | None:
    """The record beside a model, or None where there is none.

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


def main(args: Sequence[str] | None = None) -> None:
    """The command of the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m sfumato.training.record", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of `sfumato train`")
    parser.add_argument("folder", type=Path, help="where training.json and the sheets go")
    parser.add_argument("--preset", help="name of the preset; by default that of the run's folder")
    parser.add_argument("--per-epoch", type=int, help="steps of an epoch")
    parser.add_argument("--epoch", type=int, action="append", default=[], help="sheet to keep; repeatable")
    given = parser.parse_args(args)
    try:
        record = record_of(given.run, given.preset or given.run.name, given.epoch, per_epoch=given.per_epoch)
        missing = sorted(set(given.epoch) - set(record.sheets))
        if missing:
            raise UsageError(f"{given.run} has no sheet of epoch {missing[0]}: it was not drawn")
        written = write_record(record, given.run, given.folder)
    except SfumatoError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    for path in written:
        print(path)


if __name__ == "__main__":
    main()

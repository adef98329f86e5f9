"""Writes the record of a training, small enough to ship, beside the weights that came out of it.

    python -m tools.record_training runs/digits-time src/sfumato/weights/digits-time --epoch 5 --epoch 20

The folder of the weights then holds `training.json` and `epoch-005.png`, ..., which the report reads.
"""

import shutil
from pathlib import Path
from typing import Annotated

from typer import Option

from sfumato.errors import SfumatoError, UsageError
from sfumato.training.record import FILE, Record, record_of, sheet_name
from tools import run as run_tool


def write_record(record: Record, run: Path, folder: Path) -> list[Path]:
    """Writes a record and its sheets into a folder that exists; returns the paths of the files.

    Raises:
        SfumatoError: the folder cannot be written.
    """
    path = folder / FILE
    sheets = [folder / sheet_name(epoch) for epoch in record.sheets]
    try:
        for sheet in sheets:
            shutil.copyfile(run / "samples" / sheet.name, sheet)
        path.write_text(record.model_dump_json(indent=None) + "\n", encoding="utf-8")
    except OSError as error:
        raise SfumatoError(f"cannot write into {folder}: {error.strerror or error}") from error
    return [*sheets, path]


def main(
    run: Path,
    folder: Path,
    preset: Annotated[str | None, Option(help="Name of the preset; by default that of the run.")] = None,
    per_epoch: Annotated[int | None, Option(help="Steps of an epoch.")] = None,
    epoch: Annotated[list[int] | None, Option(help="Epoch whose sheet is kept; repeatable.")] = None,
) -> None:
    """Write the record of RUN, a folder of `sfumato train`, and its sheets into FOLDER.

    Raises:
        UsageError: an epoch has no sheet.
        SfumatoError: RUN has no history, or FOLDER cannot be written.
    """
    record = record_of(run, preset or run.name, epoch or [], per_epoch=per_epoch)
    missing = sorted(set(epoch or []) - set(record.sheets))
    if missing:
        raise UsageError(f"--epoch {missing[0]}: {run} has no sheet of this epoch")
    for path in write_record(record, run, folder):
        print(path)


if __name__ == "__main__":
    run_tool(main)

"""Writes the record of a training, small enough to ship, beside the weights that came out of it.

    python -m tools.record_training runs/digits-time src/sfumato/weights/digits-time --epoch 5 --epoch 20

The folder of the weights then holds `training.json` and `epoch-005.png`, ..., which the report reads.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from sfumato.errors import SfumatoError, UsageError
from sfumato.training.record import FILE, Record, record_of, sheet_name


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


def main(args: Sequence[str] | None = None) -> None:
    """The command at the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m tools.record_training", description=__doc__)
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
            raise UsageError(f"--epoch {missing[0]}: {given.run} has no sheet of this epoch")
        written = write_record(record, given.run, given.folder)
    except SfumatoError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    for path in written:
        print(path)


if __name__ == "__main__":
    main()

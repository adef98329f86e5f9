"""The record of a training: one JSON line per step, and the same numbers for TensorBoard."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from sfumato.errors import SfumatoError

FILE = "history.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One optimiser step: its number (from 1), the mean loss of its global batch, and what it used."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


class History:
    """Appends entries; on resume it first forgets those after the checkpoint's step."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [entry for entry in read_history(folder) if entry.step <= step] if step else []
            self._path.write_text("".join(map(_line, kept)))
            self._stream = self._path.open("a")
        except OSError as error:
            raise SfumatoError(f"cannot write {self._path}: {error.strerror or error}") from error
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, entry: Entry) -> None:
        """Takes in one step."""
        self._stream.write(_line(entry))
        for name, value in asdict(entry).items():
            if name != "step":
                self._board.add_scalar(name, value, entry.step)

    def flush(self) -> None:
        """Writes out what is buffered."""
        self._stream.flush()
        self._board.flush()

    def close(self) -> None:
        """Ends the record."""
        self._stream.close()
        self._board.close()


def read_history(folder: Path) -> list[Entry]:
    """The entries of a training's folder; a last line that was cut short is left out."""
    path = folder / FILE
    entries = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return entries


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"

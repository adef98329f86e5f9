"""The history of a training: one JSON line per step, and the same numbers for TensorBoard."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sfumato.errors import SfumatoError

FILE = "history.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """One optimiser step: its number (from 1), the mean loss of its global batch, its rate and gradient."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


class History:
    """Appends steps to the files of a run's folder; steps of an earlier session after `step` are removed."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [done for done in read_history(folder) if done.step <= step] if step else []
            self._path.write_text("".join(map(_line, kept)))
            self._stream = self._path.open("a")
        except OSError as error:
            raise SfumatoError(f"cannot write {self._path}: {error.strerror or error}") from error
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and readers do without

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, done: TrainingStep) -> None:
        self._stream.write(_line(done))
        for name, value in asdict(done).items():
            if name != "step":
                self._board.add_scalar(name, value, done.step)

    def flush(self) -> None:
        self._stream.flush()
        self._board.flush()

    def close(self) -> None:
        self._stream.close()
        self._board.close()


def read_history(folder: Path) -> list[TrainingStep]:
    """The steps in a run's folder; a last line that was cut short is left out."""
    path = folder / FILE
    steps = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            steps.append(TrainingStep(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return steps


def _line(done: TrainingStep) -> str:
    return json.dumps(asdict(done)) + "\n"

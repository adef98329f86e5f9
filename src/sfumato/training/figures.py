"""The loss curve as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sfumato.errors import SfumatoError
from sfumato.training.history import Entry


def draw_loss_curve(entries: Sequence[Entry], path: Path, title: str) -> None:
    """Loss over steps, logarithmic, with its running mean; a PNG.

    Raises:
        SfumatoError: the file cannot be written.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = [entry.step for entry in entries], [entry.loss for entry in entries]
    axes.plot(steps, losses, linewidth=0.6, alpha=0.4, label="each step")
    axes.plot(steps, _running_mean(losses), linewidth=1.4, label="running mean")
    axes.set(title=title, xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise SfumatoError(f"cannot write {path}: {error.strerror or error}") from error


def _running_mean(values: Sequence[float], decay: float = 0.98) -> list[float]:
    """Exponential, corrected for its start."""
    means: list[float] = []
    total = weight = 0.0
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        means.append(total / weight)
    return means

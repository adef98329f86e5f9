"""How good a digits model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.devices import load_on
from sfumato.apps.cli.options import Machine, Way
from sfumato.apps.cli.progress import Bar, progress_bar
from sfumato.apps.cli.work import solver_options
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.core.sampler import Step
    from sfumato.evaluation.digits import DigitReport, Draw
    from sfumato.models.model import Model

EXAMPLES = {"evaluate": "sfumato evaluate --model digits --count 1000"}
DIGITS = tuple("0123456789")


def evaluate(
    *,
    way: Way,
    machine: Machine,
    count: Annotated[
        int, Option("--count", "-n", min=1, max=names.MAX_COUNT, help="How many digits to draw.")
    ] = 1000,
    seed: Annotated[int, Option(min=0, max=names.MAX_SEED, help="Seed of the first digit.")] = 0,
) -> None:
    """Draw digits and judge them: are they what was asked for, and as varied as real ones?

    FID is taken on the features of the package's own digit classifier: compare it between models of this
    package and with real digits, not with figures on other features.
    """
    options = solver_options(way.solver_option)
    model = load_on(way.model, machine)
    if model.class_names != DIGITS:
        raise UsageError(
            f"{model.name} draws no digits on demand: evaluate takes a model with the classes 0 to 9"
        )
    from sfumato.evaluation.digits import evaluate

    with progress_bar("evaluate") as bar:
        report = evaluate(drawing(model, way, options, machine, bar), count=count, seed=seed)
    print_report(model.name, report)


def drawing(model: Model, way: Way, options: dict[str, float | str], machine: Machine, bar: Bar) -> Draw:
    """What draws labelled digits, one run for each stretch of equal labels; picture i has the seed + i."""

    def draw(labels: Tensor, seed: int) -> Tensor:
        import torch

        from sfumato.core.expression import label
        from sfumato.sampling import MAX_ROWS, sample

        parts: list[Tensor] = []
        kinds, counts = torch.unique_consecutive(labels, return_counts=True)
        done = 0
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):

            def on_step(step: Step, done: int = done, count: int = count) -> None:
                bar.show(done + count * (step.index + 1) / step.total, len(labels))

            pictures = sample(
                model,
                label(kind),
                seed=(seed + done) % 2**64,
                count=count,
                steps=way.steps,
                solver=way.solver,
                options=options,
                spacing=way.spacing,
                guidance=way.guidance,
                on_step=on_step,
                max_rows=machine.max_rows or MAX_ROWS,
            )
            parts.append(pictures.x)
            done += count
        return torch.cat(parts)

    return draw


def print_report(name: str, report: DigitReport) -> None:
    """The model beside real digits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    real = report.yardstick
    table = Table("", "accuracy", "FID", "s / 100", title=f"{report.count} digits")
    table.add_row(Text(name), f"{report.accuracy:.2%}", f"{report.fid:.2f}", f"{report.seconds_per_100:.2f}")
    table.add_row("real test digits", f"{real.accuracy:.2%}", f"{real.fid:.2f}", "-")
    Console().print(table)

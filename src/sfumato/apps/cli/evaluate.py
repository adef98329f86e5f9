"""How good a digits model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.devices import load_on
from sfumato.apps.cli.options import Machine, Way
from sfumato.apps.cli.progress import progress_bar
from sfumato.apps.cli.work import solver_options

if TYPE_CHECKING:
    from sfumato.evaluation.digits import DigitReport

EXAMPLES = {"evaluate": "sfumato evaluate --model digits --count 1000"}


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
    from sfumato.evaluation.digits import evaluate, sampled
    from sfumato.sampling import MAX_ROWS

    with progress_bar("evaluate") as bar:
        draw = sampled(
            model,
            steps=way.steps,
            solver=way.solver,
            options=options,
            spacing=way.spacing,
            guidance=way.guidance,
            max_rows=machine.max_rows or MAX_ROWS,
            on_progress=bar.show,
        )
        report = evaluate(draw, count=count, seed=seed)
    print_report(model.name, report)


def print_report(name: str, report: DigitReport) -> None:
    """The model beside real digits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    real = report.yardstick
    table = Table(
        "",
        "accuracy",
        "FID",
        "s / 100",
        title=f"{report.count} digits; FID on the features of sfumato's digit classifier",
    )
    table.add_row(Text(name), f"{report.accuracy:.2%}", f"{report.fid:.2f}", f"{report.seconds_per_100:.2f}")
    table.add_row("real test digits", f"{real.accuracy:.2%}", f"{real.fid:.2f}", "-")
    Console().print(table)

"""A short tour: pictures of every technique from the models that ship, on one page of the report."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.devices import load_whole_on
from sfumato.apps.cli.options import Loading, model_option
from sfumato.apps.cli.report import make_report

_model = partial(Option, autocompletion=names.complete_models)
EXAMPLES = {"demo": "sfumato demo --out demo"}


def demo(
    *,
    machine: Loading,
    out: Annotated[
        Path, Option("--out", "-o", help="Folder of the page and its pictures; made if it is missing.")
    ] = Path("demo"),
    model: Annotated[str, model_option("Text-to-image model of the page.")] = "emoji",
    digits: Annotated[str, _model(help="Digits model that draws.")] = "digits",
    denoiser: Annotated[str, _model(help="Model of the denoising section.")] = "digits-denoise",
    seed: Annotated[int, Option(min=0, max=2**63, help="Seed of every picture.")] = 0,
) -> None:
    """Make a short page of the report: pictures by prompt, edits, anagrams, hybrids; then the same of digits.

    The page is OUT/index.html. Given again, the command goes on where it was stopped.
    """
    from sfumato.apps.report.build import Report
    from sfumato.apps.report.chapters import DEMO
    from sfumato.apps.report.tour import read_tour, shipped_tour
    from sfumato.apps.report.workspace import Subject

    def subject(name: str, tour: str) -> Subject:
        path = shipped_tour(tour)
        read = read_tour(path).model_copy(update={"seed": seed})
        return Subject(model=load_whole_on(name, machine), tour=read, tour_folder=path.parent)

    given = {"--model": model, "--digits": digits, "--denoiser": denoiser, "--seed": str(seed)}
    options = [word for flag, value in given.items() for word in (flag, value)]
    report = Report(
        subjects={
            "model": subject(model, "demo-emoji"),
            "digits": subject(digits, "demo-digits"),
            "denoiser": subject(denoiser, "demo-denoise"),
        },
        out=out,
        command=shlex.join(["sfumato", "demo", *options, "--out", out.name]),
        contents=DEMO,
    )
    make_report(report)

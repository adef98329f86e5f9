"""A tour: one picture of every kind, from the models that ship."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.demo_emoji import EmojiTour
from sfumato.apps.cli.denoise import study, write_sheet
from sfumato.apps.cli.devices import load_on
from sfumato.apps.cli.inputs import Inputs
from sfumato.apps.cli.options import Loading
from sfumato.apps.cli.progress import note, told
from sfumato.apps.cli.sheets import lower_half, one_of_each, save_sheet, together
from sfumato.errors import ModelUnavailableError, SfumatoError

if TYPE_CHECKING:
    from sfumato.core.expression import Expression
    from sfumato.models.model import Model

EXAMPLES = {"demo": "sfumato demo --out demo"}
ROW, ENLARGE = 8, 3  # pictures beside one another, and how large their pixels are
STRENGTHS = (0.3, 0.45, 0.6, 0.75, 0.9)
LEVELS = (0.25, 0.5, 0.75, 1.0)  # of the denoiser: 1.0 is the noise it was trained at


def demo(
    *,
    machine: Loading,
    out: Annotated[Path, Option("--out", "-o", help="Folder for the pictures; made if need be.")] = Path(
        "demo"
    ),
    model: Annotated[
        str,
        Option(
            "--model", "-m", help="Text-to-image model of the page.", autocompletion=names.complete_models
        ),
    ] = "emoji",
    digits: Annotated[
        str,
        Option(help="Digits model that draws.", autocompletion=names.complete_models),
    ] = "digits",
    denoiser: Annotated[
        str,
        Option(help="Model of the denoising sheet.", autocompletion=names.complete_models),
    ] = "digits-denoise",
    seed: Annotated[int, Option(min=0, max=2**63, help="Seed of every picture.")] = 0,
) -> None:
    """Draw a tour of digits, then a page of pictures by prompt: edits, anagrams and hybrids of both."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SfumatoError(f"cannot make the folder {out}: {error.strerror}") from error
    start = time.monotonic()
    tour = Tour(model=load_on(digits, machine), out=out, seed=seed)
    tour.digits()
    tour.sheet("anagram.png", "6 upright, 9 turned over", tour.anagram)
    tour.sheet("hybrid.png", "3 from afar, 8 from near", tour.hybrid)
    tour.edits()
    try:
        tour.denoising(load_on(denoiser, machine))
    except ModelUnavailableError:
        note("skipped: the denoising study, its model is not here")
        raise
    page = EmojiTour(model=load_on(model, machine), out=out, seed=seed).all()
    note(f"all in {out}, {time.monotonic() - start:.0f} s; make one again with: sfumato replay PICTURE")
    typer.echo(page)


@dataclass(frozen=True, kw_only=True)
class Tour:
    """One model, one folder, one seed."""

    model: Model
    out: Path
    seed: int

    def digits(self) -> None:
        """A row of every class."""
        path = self.out / "digits.png"
        with told(path, "digits, a row of each") as bar:
            save_sheet(one_of_each(self.model, ROW, self.seed, bar), path, columns=ROW, enlarge=ENLARGE)

    def anagram(self) -> Expression:
        """Two readings."""
        from sfumato.techniques import anagram

        return anagram("6", "9", view="rotate_180")

    def hybrid(self) -> Expression:
        """Two distances."""
        from sfumato.techniques import hybrid

        return hybrid(far="3", near="8")

    def sheet(self, name: str, what: str, build: Callable[[], Expression]) -> None:
        """A row of pictures of one expression."""
        from sfumato.sampling import sample

        path = self.out / name
        with told(path, what) as bar:
            pictures = sample(self.model, build(), seed=self.seed, count=ROW, on_step=bar.see)
            pictures.save_grid(path, columns=ROW, enlarge=ENLARGE)

    def edits(self) -> None:
        """One digit, drawn; then its lower half made anew, and then turned into another."""
        from sfumato.pictures import save_picture
        from sfumato.sampling import sample

        source, mask = self.out / "seven.png", self.out / "mask.png"
        with told(source, "the digit that is changed below"):
            sample(self.model, "7", seed=self.seed).save(source)
        save_picture(lower_half(self.model), mask)
        self._inpaint(source, mask)
        self._translate(source)

    def _inpaint(self, source: Path, mask: Path) -> None:
        from sfumato.sampling import sample
        from sfumato.techniques import inpaint

        path = self.out / "inpaint.png"
        with told(path, "its lower half made anew, as a 2") as bar:
            inputs = Inputs(self.model)
            edit = inpaint(inputs.picture(source), inputs.mask(mask, "white", of=source), "2")
            pictures = sample(
                self.model, edit, seed=self.seed, count=ROW, files=inputs.files, on_step=bar.see
            )
            pictures.save_grid(path, columns=ROW, enlarge=ENLARGE)

    def _translate(self, source: Path) -> None:
        from sfumato.sampling import make_run
        from sfumato.techniques import translate

        path = self.out / "translate.png"
        with told(path, f"turned into a 9, by strengths {', '.join(map(str, STRENGTHS))}") as bar:
            inputs = Inputs(self.model)
            edits = [translate(inputs.picture(source), "9", strength=strength) for strength in STRENGTHS]
            jobs = [make_run(self.model, edit, seed=self.seed, files=inputs.files) for edit in edits]
            save_sheet(together(jobs, bar), path, columns=len(STRENGTHS), enlarge=ENLARGE)

    def denoising(self, denoiser: Model) -> None:
        """The study of the one-step denoiser on the same digit."""
        path, source = self.out / "denoise.png", self.out / "seven.png"
        with told(path, "noise, and three ways to take it away") as bar:
            clean = Inputs(denoiser).picture(source)
            found = study(denoiser, clean, None, bar, at=LEVELS, steps=10, seed=self.seed)
            facts = {"model": denoiser.name, "picture": str(source), "at": list(LEVELS), "seed": self.seed}
            write_sheet(found, path, ENLARGE, {"denoise": facts, "version": 1})

"""Measuring how good the pictures of a model are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.devices import load_on
from sfumato.apps.cli.make_pictures import sampler_settings
from sfumato.apps.cli.options import Machine, SamplerOptions
from sfumato.apps.cli.progress import progress_bar
from sfumato.apps.cli.tables import print_table
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sfumato.evaluation.digits import DigitReport
    from sfumato.evaluation.emoji import EmojiReport

DIGITS, EMOJI = 1000, 300  # pictures of an evaluation by default
EXAMPLES = {"evaluate": "sfumato evaluate --model digits --count 1000"}


def evaluate(
    *,
    sampler: SamplerOptions,
    machine: Machine,
    count: Annotated[
        int | None,
        Option(
            "--count",
            "-n",
            min=2,
            max=names.MAX_COUNT,
            help="How many pictures to draw: of digits 500, 1000 (the default), 2000 or 5000, for which "
            "figures of real digits ship; of emoji so many labels, by default 300, and as many words that "
            "no caption contains.",
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, max=names.MAX_SEED, help="Seed of the first picture.")] = 0,
) -> None:
    """Draw pictures and judge them: do they show the prompt, and are they as varied as real ones?

    FID is taken on the features of the package's own classifiers: compare it between models of this package
    and with real pictures, not with figures on other features. The prompts of emoji are labels, and words
    that no training caption contains. The distance to the nearest training picture shows what is copied.
    """
    settings = sampler_settings(sampler)
    model = load_on(sampler.model, machine)
    from sfumato.evaluation import digits, emoji
    from sfumato.sampling import MAX_ROWS

    with progress_bar("evaluate") as bar:
        settings |= {"max_rows": machine.max_rows or MAX_ROWS, "on_progress": bar.show}
        if model.shape[0] == 3:
            draw = emoji.draw_function(model, **settings)
            found = emoji.evaluate(draw, count=count or EMOJI, seed=seed)
            bar.hide()
            print_emoji(model.name, found)
        else:
            check_count(count, digits.load_judge().yardsticks)
            draw_digits, classes = digits.draw_function(model, **settings), bool(model.class_names)
            report = digits.evaluate(draw_digits, count=count or DIGITS, seed=seed, conditional=classes)
            bar.hide()
            print_digits(model.name, report)


def check_count(count: int | None, counts: Iterable[int]) -> None:
    """UsageError for a number of digits without figures for real ones."""
    if count is not None and count not in counts:
        raise UsageError(f"--count {count}: an evaluation of digits takes {', '.join(map(str, counts))}")


def print_digits(name: str, report: DigitReport) -> None:
    """A table of the model and of real digits."""
    real = report.yardstick
    accuracy = "-" if report.accuracy is None else f"{report.accuracy:.2%}"
    print_table(
        ("", "accuracy", "FID", "s / 100"),
        (name, accuracy, f"{report.fid:.2f}", f"{report.seconds_per_100:.2f}"),
        ("real test digits", f"{real.accuracy:.2%}", f"{real.fid:.2f}", "-"),
        title=f"{report.count} digits; FID on the features of sfumato's digit classifier",
    )


def print_emoji(name: str, report: EmojiReport) -> None:
    """A table of the model and of the data set's pictures."""
    labels, wordings, synonyms = report.labels, report.wordings, report.synonyms
    columns = (
        ("", name, "the data set"),
        ("labels top-1", f"{labels.top_1:.1%}", f"{report.real.top_1:.1%}"),
        ("top-5", f"{labels.top_5:.1%}", f"{report.real.top_5:.1%}"),
        ("words top-1", f"{wordings.top_1:.1%}", "-"),
        ("top-5", f"{wordings.top_5:.1%}", "-"),
        ("synonyms top-1", f"{synonyms.top_1:.1%}" if synonyms else "-", "-"),
        ("top-5", f"{synonyms.top_5:.1%}" if synonyms else "-", "-"),
        ("FID", f"{report.fid:.2f}", f"{report.real_fid:.2f}"),
        ("distance", f"{report.distance:.3f}", f"{report.real_distance:.3f}"),
        ("nearest is the prompt's", f"{report.own_nearest:.1%}", "-"),
        ("s each", f"{report.seconds_per_picture:.2f}", "-"),
    )
    title = (
        f"{labels.count} labels and {wordings.count} words that no caption contains, "
        f"{synonyms.count if synonyms else 0} of them synonyms; FID and cosine distance to the nearest "
        "training picture (median) on the features of sfumato's emoji classifier"
    )
    print_table(*zip(*columns, strict=True), title=title)

"""Fits the probabilities of the classifier of emoji to what a person saw in pictures.

    python -m tools.calibrate_judge FILE [--folder FOLDER] [--write]

A line of FILE says whether you see a thing in a picture, whose path is relative to FILE:

    drawn/0001.png, owl, yes
    drawn/0001-turned.png, penguin, no

Turn and reduce the pictures as they are to be looked at, and decide before you know the classifier's word.
The temperature and the bias of "none" have the largest likelihood (Guo et al. 2017, On Calibration of Modern
Neural Networks, sec. 4.2, for a question of yes or no). Printed are both, how often the classifier agrees,
and for bins of stated probability how often the thing was seen. --write puts both into FOLDER's description.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.emoji import FOLDER, EmojiJudge, calibrated, read_emoji_judge
from sfumato.evaluation.illusions import WORKS
from sfumato.models.files.store import DESCRIPTION, read_description
from sfumato.pictures import read_picture
from sfumato.pictures.files import publish
from tools import run

BINS = 10
ANSWERS = {"yes": True, "no": False}
_LEAST = -1e4  # for a logit of minus infinity, which has no derivative
_TEMPERATURES, _BIAS = (0.05, 20.0), 50.0  # beyond them no likelihood has a maximum


@dataclass(frozen=True, kw_only=True, eq=False)
class Namings:
    """What a person saw: logits (N, K + 1) float64 of the pictures, the classes (N, K + 1) bool that each
    prompt means, and whether it was seen, (N,) bool.
    """

    logits: Tensor
    meant: Tensor
    seen: Tensor

    def log_likelihood(self, temperature: Tensor | float, none_bias: Tensor | float) -> Tensor:
        """The mean log probability of the answers."""
        read = calibrated(self.logits, temperature, none_bias)
        right = torch.where(self.meant == self.seen[:, None], read, -torch.inf)
        return right.logsumexp(1).mean()

    def probability(self, temperature: float, none_bias: float) -> Tensor:
        """The stated probability (N,) that each prompt is seen."""
        read = calibrated(self.logits, temperature, none_bias)
        return (read.exp() * self.meant).sum(1)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The namings whose stated probability lies in [low, high): its mean, and the share that was seen."""

    low: float
    high: float
    stated: float
    seen: float
    count: int


def fit(namings: Namings) -> tuple[float, float]:
    """The temperature and the bias of "none" that have the largest likelihood.

    Raises:
        UsageError: the answers determine none.
    """
    if bool(namings.seen.all()) or not bool(namings.seen.any()):
        raise UsageError("the answers are all the same: name failures and successes")
    settings = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # logarithm of the temperature, bias
    optimizer = torch.optim.LBFGS([settings], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -namings.log_likelihood(settings[0].exp(), settings[1])
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    temperature, bias = settings[0].exp().item(), settings[1].item()
    low, high = _TEMPERATURES
    if not (low < temperature < high and abs(bias) < _BIAS):
        raise UsageError(
            f"the answers determine no temperature (found {temperature:g}, bias {bias:g}): name more pictures"
        )
    return temperature, bias


def reliability(stated: Tensor, seen: Tensor) -> list[Bin]:
    """Stated probabilities (N,) in [0, 1] and what was seen, (N,) bool, by bins, without empty ones."""
    place = (stated * BINS).long().clamp(0, BINS - 1)
    return [
        Bin(
            low=i / BINS,
            high=(i + 1) / BINS,
            stated=stated[place == i].mean().item(),
            seen=seen[place == i].double().mean().item(),
            count=int((place == i).sum()),
        )
        for i in place.unique().tolist()
    ]


def agreement(stated: Tensor, seen: Tensor) -> float:
    """How often a probability of at least `WORKS` is stated exactly where the thing was seen."""
    return ((stated >= WORKS) == seen).double().mean().item()


def read_namings(file: Path, judge: EmojiJudge) -> Namings:
    """The lines of a file, and what the judge's classifier says of their pictures.

    Raises:
        UsageError: a line is not "picture, prompt, yes or no", or its picture cannot be read; or no line.
    """
    found = list(_lines(file))
    if not found:
        raise UsageError(f"{file} names no picture: a line is: picture, prompt, yes or no")
    logits, meant = [], torch.zeros(len(found), len(judge.concepts) + 1, dtype=torch.bool)
    for i, (where, path, prompt, _) in enumerate(found):
        meant[i, sorted(judge.meaning(prompt))] = True
        try:
            logits.append(judge.logits(read_picture(path, channels=3))[1])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
    return Namings(
        logits=torch.cat(logits).double().clamp_min(_LEAST),
        meant=meant,
        seen=torch.tensor([seen for *_, seen in found]),
    )


def _lines(file: Path) -> Iterator[tuple[str, Path, str, bool]]:
    """Where each line stands, its picture, its prompt and its answer."""
    try:
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines(), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 3 or not all(cells) or cells[2].lower() not in ANSWERS:
            line = ", ".join(cells)
            raise UsageError(f"{file}, line {number}: expected picture, prompt, yes or no, not {line!r}")
        yield f"{file}, line {number}", file.parent / cells[0], cells[1], ANSWERS[cells[2].lower()]


def write(folder: Path, temperature: float, none_bias: float, measured: Sequence[Bin], agreed: float) -> None:
    """Put a calibration and what it was measured on into the description of a folder of weights.

    Raises:
        SfumatoError: the folder's classifier has no output for "none".
    """
    description = read_description(folder)
    if "none_bias" not in description:
        raise SfumatoError(f"{folder} is of a format that holds no calibration: train the classifier again")
    description |= {
        "temperature": round(temperature, 4),
        "none_bias": round(none_bias, 4),
        "calibration": {
            "namings": sum(found.count for found in measured),
            "agreement": round(agreed, 4),
            "bins": [[round(found.stated, 3), round(found.seen, 3), found.count] for found in measured],
        },
    }
    publish(folder / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())


def main(
    file: Path,
    folder: Annotated[Path, typer.Option(help="the weights of the classifier")] = FOLDER,
    write_it: Annotated[bool, typer.Option("--write", help="put the calibration into FOLDER")] = False,
) -> None:
    """Calibrate the classifier of emoji by what a person saw."""
    judge = read_emoji_judge(folder)
    namings = read_namings(file, judge)
    temperature, bias = fit(namings)
    print(f"{len(namings.seen)} namings, {int(namings.seen.sum())} of them seen")
    for name, chosen in (("as it is", (judge.temperature, judge.none_bias)), ("fitted", (temperature, bias))):
        stated = namings.probability(*chosen)
        print(
            f"{name}: temperature {chosen[0]:.3f}, bias of none {chosen[1]:.3f}, mean log likelihood "
            f"{namings.log_likelihood(*chosen):.4f}, agreement {agreement(stated, namings.seen):.1%}"
        )
        for found in reliability(stated, namings.seen):
            print(
                f"  {found.low:.1f} to {found.high:.1f}: stated {found.stated:6.1%}, "
                f"seen {found.seen:6.1%} of {found.count}"
            )
    if write_it:
        measured = reliability(stated, namings.seen)
        write(folder, temperature, bias, measured, agreement(stated, namings.seen))
        print(f"written into {folder / DESCRIPTION}")


if __name__ == "__main__":
    run(main)

"""How good a digits model is: read by the classifier, and compared with real digits.

Contract (`Draw`): the pictures are made by whoever calls: a function of labels (N,) int64 and a seed that
answers (N, 1, 28, 28) in [-1, 1], picture i being of class labels[i].
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from sfumato.core.expression import label, unconditional
from sfumato.core.sampler import Step
from sfumato.core.schedule import FixedSigma
from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.classifier import DigitClassifier
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.models.files.store import read_folder
from sfumato.models.model import DIGIT_WORDS, Model
from sfumato.sampling import MAX_ROWS, sample

Draw = Callable[[Tensor, int], Tensor]

FOLDER = Path(__file__).parents[1] / "weights" / "digit-classifier"
DIGITS = tuple("0123456789")


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What real digits score at the same count: no model is expected to do better.

    accuracy   of the classifier on the 10,000 test digits, which it never saw in training
    fid        between `count` random test digits and the 60,000 training digits, the mean over disjoint sets
    """

    accuracy: float
    fid: float


@dataclass(frozen=True, kw_only=True)
class DigitReport:
    """What a set of generated digits scores.

    accuracy          the share that the classifier reads as the class that was asked for; None if none was
    fid               Frechet distance to the training digits on the classifier's features, at this count
    seconds_per_100   wall-clock time of the drawing
    """

    count: int
    accuracy: float | None
    fid: float
    seconds_per_100: float
    yardstick: Yardstick


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """The classifier with the moments of the training digits and the yardstick of each count."""

    classifier: DigitClassifier
    reference: Gaussian
    shares: Tensor  # (10,) float64: how frequent each class is among the training digits
    yardsticks: dict[int, Yardstick]

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) in [-1, 1] -> features (N, 128) and classes (N,) int64."""
        features, logits = self.classifier.read(pictures)
        return features, logits.argmax(1)

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """As `reader.Reader`."""
        if pictures.shape[1:] != (1, 28, 28):
            raise UsageError(f"the judge of digits reads (N, 1, 28, 28), not {tuple(pictures.shape)}")
        return self.classifier.read(pictures)[1].log_softmax(1)

    def meaning(self, text: str) -> frozenset[int]:
        """As `reader.Reader`: a digit or its word."""
        word = text.strip().lower()
        if word not in DIGITS and word not in DIGIT_WORDS:
            raise UsageError(f"the judge of digits does not know {text!r}: it knows 0 to 9")
        return frozenset({DIGITS.index(word) if word in DIGITS else DIGIT_WORDS.index(word)})

    def labels(self, count: int) -> Tensor:
        """`count` labels, ascending, as frequent as among the training digits; their FID has the same mix."""
        middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return torch.searchsorted(self.shares.cumsum(0), middle).clamp(max=len(self.shares) - 1)


@lru_cache(maxsize=1)
def load_judge() -> Judge:
    """The judge that ships with the package.

    Raises:
        ModelUnavailableError: its weights are missing.
        SfumatoError: they are damaged.
    """
    description, tensors = read_folder(FOLDER)
    classifier = DigitClassifier().eval()
    try:
        reference = Gaussian(
            mean=tensors.pop("reference.mean").double(),
            covariance=tensors.pop("reference.covariance").double(),
        )
        shares = tensors.pop("reference.shares").double()
        classifier.load_state_dict(tensors)
        accuracy = float(description["accuracy"])
        yardsticks = {
            int(count): Yardstick(accuracy=accuracy, fid=float(fid))
            for count, fid in description["fid"].items()
        }
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SfumatoError(f"{FOLDER} is not the digit classifier of this version: {error}") from error
    return Judge(classifier=classifier, reference=reference, shares=shares, yardsticks=yardsticks)


def sampled(
    model: Model,
    *,
    steps: int | None = None,
    solver: str | None = None,
    options: Mapping[str, float | str] | None = None,
    spacing: str | None = None,
    guidance: float | None = None,
    max_rows: int = MAX_ROWS,
    on_progress: Callable[[float, int], None] | None = None,
) -> Draw:
    """Draws from a model of digits, of each class if it knows them; what is left out is the model's default.

    Picture i has the noise of seed + i, whatever its class. on_progress hears (digits done, digits in all).

    Raises:
        UsageError: the model's classes are not the ten digits, or it has none and draws no such pictures, or
            it knows one level of noise alone.
    """
    if isinstance(model.schedule, FixedSigma):
        raise UsageError(f"{model.name} draws no digits: it takes one level of noise away")
    if model.class_names != DIGITS and (model.class_names or model.shape != (1, 28, 28)):
        raise UsageError(f"{model.name} draws no digits: its classes are not 0 to 9")

    def draw(labels: Tensor, seed: int) -> Tensor:
        pictures = torch.empty(len(labels), *model.shape)
        stretches = _runs(labels) if model.class_names else [(0, len(labels))]
        for start, stop in stretches:

            def on_step(step: Step, start: int = start, stop: int = stop) -> None:
                if on_progress is not None:
                    on_progress(start + (stop - start) * (step.index + 1) / step.total, len(labels))

            made = sample(
                model,
                label(int(labels[start])) if model.class_names else unconditional(),
                seed=(seed + start) % 2**64,
                count=stop - start,
                steps=steps,
                solver=solver,
                options=options,
                spacing=spacing,
                guidance=guidance,
                max_rows=max_rows,
                on_step=on_step,
            )
            pictures[start:stop] = made.x
        return pictures

    return draw


def _runs(labels: Tensor) -> list[tuple[int, int]]:
    """The stretches (start, stop) of equal labels."""
    _, lengths = torch.unique_consecutive(labels, return_counts=True)
    stops = lengths.cumsum(0).tolist()
    return list(pairwise([0, *stops]))


def evaluate(draw: Draw, *, count: int = 1000, seed: int = 0, asked: bool = True) -> DigitReport:
    """Draw `count` digits and judge them.

    Args:
        draw: makes the pictures: `sampled(model)`, or a function as the top of this file describes.
        count: one of the counts that have a yardstick (an FID means nothing without one of the same count).
        seed: handed to `draw`.
        asked: whether `draw` gives the classes that it is asked for; else only the FID is judged.

    Raises:
        UsageError: a count without a yardstick, or pictures of another shape than was asked for.
        SfumatoError: the pictures hold values that are not finite.
    """
    judge = load_judge()
    if count not in judge.yardsticks:
        counts = ", ".join(map(str, judge.yardsticks))
        raise UsageError(f"no yardstick for {count} digits: choose one of {counts}")
    labels = judge.labels(count)
    start = time.perf_counter()
    pictures = draw(labels, seed)
    seconds = time.perf_counter() - start
    if pictures.shape != (count, 1, 28, 28):
        raise UsageError(f"{count} digits are ({count}, 1, 28, 28), not {tuple(pictures.shape)}")
    features, read = judge.read(pictures)
    return DigitReport(
        count=count,
        accuracy=(read == labels).double().mean().item() if asked else None,
        fid=frechet_distance(Gaussian.of(features), judge.reference),
        seconds_per_100=seconds / count * 100,
        yardstick=judge.yardsticks[count],
    )

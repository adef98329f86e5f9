"""How good a model of digits is: the classifier reads its pictures, and FID compares them with real digits.

Contract (`DrawDigits`): the caller makes the pictures. A function of labels (N,) int64 and a seed returns
(N, 1, 28, 28) in [-1, 1], and picture i is of class labels[i].
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from sfumato.core.expression import label, unconditional
from sfumato.core.schedule import FixedSigma
from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.classifier import DigitClassifier
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.evaluation.progress import OnProgress, step_hook
from sfumato.models.conditioning import DIGIT_WORDS
from sfumato.models.files.store import read_folder
from sfumato.models.model import Model
from sfumato.sampling import MAX_ROWS, SamplerSettings, sample

DrawDigits = Callable[[Tensor, int], Tensor]

FOLDER = Path(__file__).parents[1] / "weights" / "digit-classifier"
DIGITS = tuple("0123456789")


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """The scores of real digits at the same count: no model is expected to do better.

    accuracy   of the classifier on the 10,000 test digits, which it did not see in training
    fid        between `count` random test digits and the 60,000 training digits, the mean over disjoint sets
    """

    accuracy: float
    fid: float


@dataclass(frozen=True, kw_only=True)
class DigitReport:
    """The scores of a set of generated digits.

    accuracy          the share that the classifier reads as the class of the label; None without labels
    fid               Frechet distance to the training digits on the classifier's features, at this count
    seconds_per_100   wall-clock time of 100 pictures
    """

    count: int
    accuracy: float | None
    fid: float
    seconds_per_100: float
    yardstick: Yardstick


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """The classifier, the moments of the training digits, and the yardstick of each count."""

    classifier: DigitClassifier
    reference: Gaussian
    shares: Tensor  # (10,) float64: how frequent each class is among the training digits
    yardsticks: dict[int, Yardstick]

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) in [-1, 1] -> features (N, 128) and classes (N,) int64."""
        features, logits = self.classifier.read(pictures)
        return features, logits.argmax(1)

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        if pictures.shape[1:] != (1, 28, 28):
            raise UsageError(f"the judge of digits reads (N, 1, 28, 28), not {tuple(pictures.shape)}")
        return self.classifier.read(pictures)[1].log_softmax(1)

    def meaning(self, text: str) -> frozenset[int]:
        """See `Reader.meaning`; the text is a digit or its English word."""
        word = text.strip().lower()
        if word not in DIGITS and word not in DIGIT_WORDS:
            raise UsageError(f"the judge of digits does not know {text!r}: it knows 0 to 9")
        return frozenset({DIGITS.index(word) if word in DIGITS else DIGIT_WORDS.index(word)})

    def labels(self, count: int) -> Tensor:
        """`count` labels, ascending, each as frequent as among the training digits."""
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
    try:
        mean, covariance, shares = (
            tensors.pop(f"reference.{name}").double() for name in ("mean", "covariance", "shares")
        )
        classifier = DigitClassifier().eval()
        classifier.load_state_dict(tensors)
        accuracy = float(description["accuracy"])
        return Judge(
            classifier=classifier,
            reference=Gaussian(mean=mean, covariance=covariance),
            shares=shares,
            yardsticks={
                int(count): Yardstick(accuracy=accuracy, fid=float(fid))
                for count, fid in description["fid"].items()
            },
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SfumatoError(f"{FOLDER} is not the digit classifier of this version: {error}") from error


def draw_function(
    model: Model,
    *,
    max_rows: int = MAX_ROWS,
    on_progress: OnProgress | None = None,
    **settings: Unpack[SamplerSettings],
) -> DrawDigits:
    """The function that draws digits from a model: of the labels' classes if the model has classes.

    Picture i has the noise of seed + i, whatever its class.

    Raises:
        UsageError: the model has other classes than the ten digits, other pictures than those of digits, or a
            single level of noise.
    """
    if isinstance(model.schedule, FixedSigma):
        raise UsageError(f"{model.name} draws no digits: it removes noise of a single level")
    if model.class_names != DIGITS and (model.class_names or model.shape != (1, 28, 28)):
        raise UsageError(f"{model.name} draws no digits: its classes are not 0 to 9")

    def draw(labels: Tensor, seed: int) -> Tensor:
        pictures = torch.empty(len(labels), *model.shape)
        equal = labels if model.class_names else torch.zeros_like(labels)
        _, lengths = torch.unique_consecutive(equal, return_counts=True)  # the stretches of one class
        for start, stop in pairwise([0, *lengths.cumsum(0).tolist()]):
            made = sample(
                model,
                label(int(labels[start])) if model.class_names else unconditional(),
                seed=(seed + start) % 2**64,
                count=stop - start,
                max_rows=max_rows,
                on_step=step_hook(on_progress, start, stop - start, len(labels)),
                **settings,
            )
            pictures[start:stop] = made.x
        return pictures

    return draw


def evaluate(draw: DrawDigits, *, count: int = 1000, seed: int = 0, conditional: bool = True) -> DigitReport:
    """Draws `count` digits and judges them.

    Args:
        draw: `draw_function(model)`, or a function of your own, see the contract at the top of this file.
        count: one of the counts that have a yardstick; an FID means nothing without one of the same count.
        seed: the second argument of `draw`.
        conditional: whether `draw` draws the classes of the labels; else the report has no accuracy.

    Raises:
        UsageError: a count without a yardstick, or pictures of another shape.
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
        accuracy=(read == labels).double().mean().item() if conditional else None,
        fid=frechet_distance(Gaussian.of(features), judge.reference),
        seconds_per_100=seconds / count * 100,
        yardstick=judge.yardsticks[count],
    )

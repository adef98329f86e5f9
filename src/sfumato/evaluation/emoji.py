"""How good a model of emoji is: read by the classifier, asked by labels and by words it was never taught.

Contract (`Draw`): the pictures are made by whoever calls: a function of prompts and a seed that answers
(N, 3, S, S) in [-1, 1], S at least 64, picture i showing prompts[i].
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.core.sampler import Step
from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.evaluation.reader import ranks
from sfumato.models.files.store import read_folder
from sfumato.models.model import Model
from sfumato.models.text.encoder import load_text_encoder
from sfumato.models.text.phrasing import without_frame
from sfumato.sampling import MAX_ROWS, make_recipe, run_together
from sfumato.training.emoji import Concept, held_out_wordings
from sfumato.training.emoji.dataset import concepts_from_json

T = TypeVar("T")
Draw = Callable[[Sequence[str], int], Tensor]

FOLDER = Path(__file__).parents[1] / "weights" / "emoji-classifier"
SIDE = 64
STEP = 1 / 24  # of the stored features, which are bytes: up to 5.3 of the 11.3 that there can be


@dataclass(frozen=True, kw_only=True, eq=False)
class EmojiJudge:
    """The classifier with what its classes are called and the features of the data set.

    features, concept, style: one row for each of the data set's pictures
    accuracy: top-1 and top-5 on the data set as it is and under changes that training never applied
    """

    classifier: EmojiClassifier
    concepts: tuple[Concept, ...]
    styles: tuple[str, ...]
    features: Tensor
    concept: Tensor
    style: Tensor
    accuracy: Mapping[str, Mapping[str, float]]

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) in [-1, 1], S at least 64 -> features (N, 128) and log probabilities (N, K)."""
        _, channels, height, width = pictures.shape
        if channels != 3 or height != width or height < SIDE:
            raise UsageError(
                f"the judge of emoji reads square coloured pictures of at least {SIDE} pixels, "
                f"not {width} x {height} of {channels} channels"
            )
        if height > SIDE:
            pictures = F.interpolate(pictures, size=SIDE, mode="area")
        features, logits = self.classifier.read(pictures)
        return features, logits.log_softmax(1)

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """As `reader.Reader`."""
        return self.read(pictures)[1]

    def meaning(self, text: str) -> frozenset[int]:
        """As `reader.Reader`: by label, by keyword, else the label nearest to the text in meaning.

        The keyword of many concepts ("animal") is any of them.
        """
        words = without_frame(text)
        return self._named.get(words) or frozenset({self._nearest_label(words)})

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The row (N,) of the data set that is nearest to features (N, 128), and its cosine distance (N,)."""
        cosine = F.normalize(features, dim=1) @ F.normalize(self.features, dim=1).T
        best, row = cosine.max(1)
        return row, 1 - best

    @property
    def as_they_are(self) -> dict[str, float]:
        """Top-1 and top-5 on the data set's own pictures."""
        found = self.accuracy["as they are"]
        return {"top_1": found["top-1"], "top_5": found["top-5"]}

    @cached_property
    def _named(self) -> dict[str, frozenset[int]]:
        found: dict[str, set[int]] = {}
        labels = {without_frame(concept.label) for concept in self.concepts}
        for row, concept in enumerate(self.concepts):
            found.setdefault(without_frame(concept.label), set()).add(row)
            for keyword in map(without_frame, concept.keywords):
                if keyword not in labels:
                    found.setdefault(keyword, set()).add(row)
        return {word: frozenset(rows) for word, rows in found.items()}

    def _nearest_label(self, text: str) -> int:
        encoder = load_text_encoder()
        return int((self._labels @ encoder.encode([text]).sentence[0]).argmax())

    @cached_property
    def _labels(self) -> Tensor:
        """(K, 384), the labels as the text encoder has them."""
        return load_text_encoder().encode([concept.label for concept in self.concepts]).sentence


@lru_cache(maxsize=1)
def load_emoji_judge() -> EmojiJudge:
    """The judge that ships with the package.

    Raises:
        ModelUnavailableError: its weights are missing.
        SfumatoError: they are damaged.
    """
    description, tensors = read_folder(FOLDER)
    try:
        concepts = concepts_from_json(description["concepts"])
        features = tensors.pop("reference.features").float() * STEP
        concept, style = (tensors.pop(f"reference.{name}").long() for name in ("concept", "style"))
        classifier = EmojiClassifier(len(concepts)).eval()
        classifier.load_state_dict(tensors)
        return EmojiJudge(
            classifier=classifier,
            concepts=concepts,
            styles=tuple(description["styles"]),
            features=features,
            concept=concept,
            style=style,
            accuracy=description["accuracy"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SfumatoError(f"{FOLDER} is not the emoji classifier of this version: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How often the classifier sees in the pictures what was asked for: first, or among its first five."""

    count: int
    top_1: float
    top_5: float


@dataclass(frozen=True, kw_only=True)
class EmojiReport:
    """What a model of emoji scores.

    labels       asked by the concepts' labels
    wordings     asked by words that no training caption contains
    synonyms     of these, by those that a thesaurus has for the concept; None when none was asked
    real         the classifier on the data set's own pictures: no model is expected to do better
    fid          Frechet distance of the labels' pictures to the data set on the classifier's features
    real_fid     that of as many random pictures of the data set: no model is expected to do better
    distance     median cosine distance of the labels' pictures to the nearest of the data set
    real_distance   that of the data set's own pictures to the nearest other one
    own_nearest  how often that nearest picture shows what was asked for
    seconds_per_picture   wall-clock time of the drawing
    """

    labels: Answered
    wordings: Answered
    synonyms: Answered | None
    real: Answered
    fid: float
    real_fid: float
    distance: float
    real_distance: float
    own_nearest: float
    seconds_per_picture: float


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
    """Draws from a model that is asked with prompts; what is left out is the model's default.

    Picture i has the noise of seed + i. on_progress hears (pictures done, pictures in all).

    Raises:
        UsageError: the model draws no coloured pictures of prompts.
    """
    if model.shape[0] != 3 or model.class_names:
        raise UsageError(f"{model.name} draws no emoji on demand: it makes no coloured pictures of prompts")

    def draw(prompts: Sequence[str], seed: int) -> Tensor:
        made: list[Tensor] = []
        for start in range(0, len(prompts), max_rows):
            texts = prompts[start : start + max_rows]

            def on_step(step: Step, start: int = start, count: int = len(texts)) -> None:
                if on_progress is not None:
                    on_progress(start + count * (step.index + 1) / step.total, len(prompts))

            jobs = [
                make_recipe(
                    model,
                    text,
                    seed=(seed + start + i) % 2**64,
                    steps=steps,
                    solver=solver,
                    options=options,
                    spacing=spacing,
                    guidance=guidance,
                )
                for i, text in enumerate(texts)
            ]
            made += [p.x for p in run_together(jobs, model, on_step=on_step, max_rows=max_rows)]
        return torch.cat(made)

    return draw


def evaluate(draw: Draw, *, count: int = 300, seed: int = 0, judge: EmojiJudge | None = None) -> EmojiReport:
    """Draw and judge `count` labels, chosen at random by the seed, and as many held-out wordings.

    Args:
        draw: makes the pictures: `sampled(model)`, or a function as the top of this file describes.
        count: 2 or more; there are some 1,250 labels and 300 wordings, each asked once at most.
        seed: of the choice; handed to `draw`.
        judge: another than the one that ships.

    Raises:
        UsageError: a count below 2, or pictures of another shape than was asked for.
        SfumatoError: the pictures hold values that are not finite.
    """
    if count < 2:
        raise UsageError(f"an evaluation takes at least 2 pictures, not {count}")
    judge = judge or load_emoji_judge()
    generator = torch.Generator().manual_seed(seed)
    labels = _some(range(len(judge.concepts)), count, generator)
    wordings = _some(held_out_wordings(judge.concepts), count, generator)

    start = time.perf_counter()
    by_label = _checked(draw([judge.concepts[row].label for row in labels], seed), len(labels))
    by_wording = _checked(draw([wording.text for wording in wordings], seed), len(wordings))
    seconds = time.perf_counter() - start

    features, read = judge.read(by_label)
    row, distance = judge.nearest(features)
    some = torch.randperm(len(judge.features), generator=generator)[: len(labels)]
    reference = Gaussian.of(judge.features)
    accepted, heard = [wording.accepted for wording in wordings], judge.read(by_wording)[1]
    synonyms = [i for i, wording in enumerate(wordings) if wording.synonym]
    return EmojiReport(
        labels=answered(read, [frozenset({row}) for row in labels]),
        wordings=answered(heard, accepted),
        synonyms=answered(heard[synonyms], [accepted[i] for i in synonyms]) if synonyms else None,
        real=Answered(count=len(judge.features), **judge.as_they_are),
        fid=frechet_distance(Gaussian.of(features), reference),
        real_fid=frechet_distance(Gaussian.of(judge.features[some]), reference),
        distance=float(distance.median()),
        real_distance=float(_apart(judge.features).median()),
        own_nearest=float((judge.concept[row] == torch.tensor(labels)).double().mean()),
        seconds_per_picture=seconds / (len(labels) + len(wordings)),
    )


def _some(items: Sequence[T], count: int, generator: torch.Generator) -> list[T]:
    return [items[i] for i in torch.randperm(len(items), generator=generator)[:count].tolist()]


def _checked(pictures: Tensor, count: int) -> Tensor:
    if pictures.ndim != 4 or len(pictures) != count:
        raise UsageError(f"{count} emoji are ({count}, 3, S, S), not {tuple(pictures.shape)}")
    if not bool(pictures.isfinite().all()):
        raise SfumatoError("the pictures hold NaN or infinite values")
    return pictures


def answered(read: Tensor, wanted: Sequence[frozenset[int]]) -> Answered:
    """How often what scores best of (N, K) is among the N wanted: first, or among the first five."""
    place = torch.cat([ranks(row[None], classes) for row, classes in zip(read, wanted, strict=True)])
    first, five = ((place <= within).double().mean().item() for within in (1, 5))
    return Answered(count=len(wanted), top_1=first, top_5=five)


def _apart(features: Tensor) -> Tensor:
    """The cosine distance (N,) of each row to the nearest other one."""
    directions = F.normalize(features, dim=1)
    cosine = (directions @ directions.T).fill_diagonal_(-1)
    return 1 - cosine.amax(1)

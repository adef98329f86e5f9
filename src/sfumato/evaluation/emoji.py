"""How good a model of emoji is: the classifier reads its pictures of labels and of words that are new to it.

Contract (`DrawEmoji`): the caller makes the pictures. A function of prompts and a seed returns (N, 3, S, S)
in [-1, 1], S at least 64, and picture i shows prompts[i].
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.evaluation.progress import OnProgress, step_hook
from sfumato.evaluation.reader import ranks
from sfumato.models.files.store import read_folder
from sfumato.models.model import Model
from sfumato.models.text.emoji import name_emoji
from sfumato.models.text.encoder import load_text_encoder
from sfumato.models.text.phrasing import without_frame
from sfumato.sampling import MAX_ROWS, SamplerSettings, make_run, run_together
from sfumato.training.emoji import Concept, held_out_wordings
from sfumato.training.emoji.dataset import COLOURLESS, GROUP, concepts_from_json

DrawEmoji = Callable[[Sequence[str], int], Tensor]

FOLDER = Path(__file__).parents[1] / "weights" / "emoji-classifier"
SIDE = 64
FORMATS = {1: False, 2: True}  # of the folder -> whether the classifier has an output for `none`
STEP = 1 / 24  # of the stored features, which are bytes: they reach 5.3 of the 11.3 that are possible


@dataclass(frozen=True, kw_only=True, eq=False)
class EmojiJudge:
    """The classifier, the concepts that are its classes, and its features of the data set.

    One more class, `none`, is that of pictures that show none of the concepts. Probabilities are the softmax
    of (logits + none_bias at `none`) / temperature; both numbers were fitted to what a person saw in pictures
    (`tools/calibrate_judge.py`), or are 0 and 1. A classifier without an output for `none` never answers it.

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
    temperature: float = 1.0
    none_bias: float = 0.0

    @property
    def none(self) -> int:
        """The class of pictures that show none of the concepts: K, the last."""
        return len(self.concepts)

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 128) and log probabilities (N, K + 1) of pictures, see `logits`."""
        features, logits = self.logits(pictures)
        return features, calibrated(logits, self.temperature, self.none_bias)

    def logits(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 128) and logits (N, K + 1) of pictures (N, 3, S, S) in [-1, 1], S at least 64."""
        _, channels, height, width = pictures.shape
        if channels != 3 or height != width or height < SIDE:
            raise UsageError(
                f"the judge of emoji reads square coloured pictures of at least {SIDE} pixels, "
                f"not {width} x {height} of {channels} channels"
            )
        if height > SIDE:
            pictures = F.interpolate(pictures, size=SIDE, mode="area")
        features, logits = self.classifier.read(pictures)
        if logits.shape[1] == len(self.concepts):
            logits = F.pad(logits, (0, 1), value=-torch.inf)
        return features, logits

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        return self.read(pictures)[1]

    def meaning(self, text: str) -> frozenset[int]:
        """See `Reader.meaning`: by label, by keyword, else the label nearest to the text in meaning.

        A keyword of several concepts ("animal") means any of them.
        """
        words = without_frame(name_emoji(text).text)
        if words in self._named:
            return self._named[words]
        similarity = self._labels @ load_text_encoder().encode([words]).sentence[0]  # (K,)
        return frozenset({int(similarity.argmax())})

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The row (N,) of the data set that is nearest to features (N, 128), and its cosine distance (N,)."""
        cosine = F.normalize(features, dim=1) @ F.normalize(self.features, dim=1).T
        best, row = cosine.max(1)
        return row, 1 - best

    @cached_property
    def coloured(self) -> Tensor:
        """(N,) bool: the rows of the data set that a prompt without a style may be drawn like."""
        colourless = [row for row, style in enumerate(self.styles) if style in COLOURLESS]
        return ~torch.isin(self.style, torch.tensor(colourless, dtype=self.style.dtype))

    @cached_property
    def _named(self) -> dict[str, frozenset[int]]:
        found: dict[str, set[int]] = {}
        labels = [without_frame(concept.label) for concept in self.concepts]
        for row, concept in enumerate(self.concepts):
            keywords = set(map(without_frame, concept.keywords)).difference(labels)
            for words in (labels[row], *keywords):
                found.setdefault(words, set()).add(row)
        return {word: frozenset(rows) for word, rows in found.items()}

    @cached_property
    def _labels(self) -> Tensor:
        """(K, 384), the sentence embeddings of the labels."""
        return load_text_encoder().encode([concept.label for concept in self.concepts]).sentence


def calibrated(logits: Tensor, temperature: float | Tensor, none_bias: float | Tensor) -> Tensor:
    """Log probabilities (N, K + 1) from logits (N, K + 1), the last of which is that of `none`."""
    concepts, none = logits[:, :-1], logits[:, -1:]
    return (torch.cat([concepts, none + none_bias], dim=1) / temperature).log_softmax(1)


@lru_cache(maxsize=1)
def load_emoji_judge() -> EmojiJudge:
    """The judge that ships with the package; errors are those of `read_emoji_judge`."""
    return read_emoji_judge(FOLDER)


def read_emoji_judge(folder: Path) -> EmojiJudge:
    """The judge of a folder that `tools/train_emoji_classifier.py` wrote.

    Raises:
        ModelUnavailableError: its weights are missing.
        SfumatoError: they are damaged, or of a later version.
    """
    description, tensors = read_folder(folder)
    try:
        features, concept, style = (
            tensors.pop(f"reference.{name}") for name in ("features", "concept", "style")
        )
        concepts = concepts_from_json(description["concepts"])
        has_none = FORMATS[description["format"]]
        classifier = EmojiClassifier(len(concepts) + has_none).eval()
        classifier.load_state_dict(tensors)
        return EmojiJudge(
            classifier=classifier,
            concepts=concepts,
            styles=tuple(description["styles"]),
            features=features.float() * STEP,
            concept=concept.long(),
            style=style.long(),
            accuracy=description["accuracy"],
            temperature=float(description["temperature"]) if has_none else 1.0,
            none_bias=float(description["none_bias"]) if has_none else 0.0,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SfumatoError(f"{folder} is not the emoji classifier of this version: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often a class that the prompt means is the classifier's first, or among its first five."""

    count: int
    top_1: float
    top_5: float


@dataclass(frozen=True, kw_only=True)
class EmojiReport:
    """The scores of a model of emoji.

    labels       with the concepts' labels as prompts
    wordings     with words as prompts that no training caption contains
    synonyms     with those of the wordings that a thesaurus lists for the concept; None where there is none
    real         of the data set's own pictures: no model is expected to do better
    fid          Frechet distance of the labels' pictures to the data set on the classifier's features
    real_fid     that of as many random pictures of the data set: no model is expected to do better
    distance     median cosine distance of the labels' pictures to the nearest of the data set
    real_distance   that of the data set's own pictures to the nearest other one
    own_nearest  how often that nearest picture shows the concept of the label
    seconds_per_picture   wall-clock time
    """

    labels: Accuracy
    wordings: Accuracy
    synonyms: Accuracy | None
    real: Accuracy
    fid: float
    real_fid: float
    distance: float
    real_distance: float
    own_nearest: float
    seconds_per_picture: float


def draw_function(
    model: Model,
    *,
    max_rows: int = MAX_ROWS,
    on_progress: OnProgress | None = None,
    **settings: Unpack[SamplerSettings],
) -> DrawEmoji:
    """The function that draws prompts with a model.

    Picture i has the noise of seed + i.

    Raises:
        UsageError: the model draws no coloured pictures of prompts.
    """
    if model.shape[0] != 3 or model.class_names:
        raise UsageError(f"{model.name} draws no emoji: it makes no coloured pictures of prompts")

    def draw(prompts: Sequence[str], seed: int) -> Tensor:
        made: list[Tensor] = []
        for start in range(0, len(prompts), max_rows):
            texts = prompts[start : start + max_rows]
            on_step = step_hook(on_progress, start, len(texts), len(prompts))
            jobs = [
                make_run(model, text, seed=(seed + start + i) % 2**64, **settings)
                for i, text in enumerate(texts)
            ]
            made += [p.x for p in run_together(jobs, on_step=on_step, max_rows=max_rows)]
        return torch.cat(made)

    return draw


def evaluate(
    draw: DrawEmoji, *, count: int = 300, seed: int = 0, judge: EmojiJudge | None = None
) -> EmojiReport:
    """Draws and judges `count` labels, chosen at random by the seed, and as many held-out wordings.

    Args:
        draw: `draw_function(model)`, or a function of your own, see the contract at the top of this file.
        count: 2 or more; there are some 1,250 labels and 300 wordings, and none is drawn twice.
        seed: of the choice, and the second argument of `draw`.
        judge: instead of the one that ships.

    Raises:
        UsageError: a count below 2, or pictures of another shape.
        SfumatoError: the pictures hold values that are not finite.
    """
    if count < 2:
        raise UsageError(f"an evaluation takes at least 2 pictures, not {count}")
    judge = judge or load_emoji_judge()
    generator = torch.Generator().manual_seed(seed)
    emoji = [row for row, concept in enumerate(judge.concepts) if concept.group != GROUP]
    labels = [emoji[i] for i in torch.randperm(len(emoji), generator=generator)[:count].tolist()]
    held_out = held_out_wordings(judge.concepts)
    wordings = [held_out[i] for i in torch.randperm(len(held_out), generator=generator)[:count].tolist()]

    start = time.perf_counter()
    by_label = _checked(draw([judge.concepts[row].label for row in labels], seed), len(labels))
    by_wording = _checked(draw([wording.text for wording in wordings], seed), len(wordings))
    seconds = time.perf_counter() - start

    features, read = judge.read(by_label)
    row, distance = judge.nearest(features)
    features_of_real = judge.features[judge.coloured]
    some = torch.randperm(len(features_of_real), generator=generator)[: len(labels)]
    reference = Gaussian.of(features_of_real)
    accepted, read_words = [wording.accepted for wording in wordings], judge.read(by_wording)[1]
    own = judge.accuracy["as they are"]
    synonyms = [i for i, wording in enumerate(wordings) if wording.synonym]
    return EmojiReport(
        labels=accuracy_of(read, [frozenset({row}) for row in labels]),
        wordings=accuracy_of(read_words, accepted),
        synonyms=accuracy_of(read_words[synonyms], [accepted[i] for i in synonyms]) if synonyms else None,
        real=Accuracy(count=len(judge.features), top_1=own["top-1"], top_5=own["top-5"]),
        fid=frechet_distance(Gaussian.of(features), reference),
        real_fid=frechet_distance(Gaussian.of(features_of_real[some]), reference),
        distance=float(distance.median()),
        real_distance=float(_apart(features_of_real).median()),
        own_nearest=float((judge.concept[row] == torch.tensor(labels)).double().mean()),
        seconds_per_picture=seconds / (len(labels) + len(wordings)),
    )


def _checked(pictures: Tensor, count: int) -> Tensor:
    if pictures.ndim != 4 or len(pictures) != count:
        raise UsageError(f"{count} emoji are ({count}, 3, S, S), not {tuple(pictures.shape)}")
    if not bool(pictures.isfinite().all()):
        raise SfumatoError("the pictures hold NaN or infinite values")
    return pictures


def accuracy_of(scores: Tensor, wanted: Sequence[frozenset[int]]) -> Accuracy:
    """How often one of the wanted classes (N sets) is first, or among the first five, in scores (N, K)."""
    place = torch.cat([ranks(row[None], classes) for row, classes in zip(scores, wanted, strict=True)])
    first, five = ((place <= within).double().mean().item() for within in (1, 5))
    return Accuracy(count=len(wanted), top_1=first, top_5=five)


def _apart(features: Tensor) -> Tensor:
    """The cosine distance (N,) of each row to the nearest other one."""
    directions = F.normalize(features, dim=1)
    cosine = (directions @ directions.T).fill_diagonal_(-1)
    return 1 - cosine.amax(1)

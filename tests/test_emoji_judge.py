"""The classifier of emoji, what its classes are called, and what a model of emoji scores."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tools.train_digit_classifier import train
from tools.train_emoji_classifier import EMOJI, HELD_OUT, measured, publish
from torch import Tensor

from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.evaluation import emoji
from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.emoji import EmojiJudge, draw_function, evaluate, load_emoji_judge
from sfumato.evaluation.reader import ranks
from sfumato.evaluation.readers import reader_of
from sfumato.training.data import to_house_range
from sfumato.training.emoji import EmojiDataset, held_out_wordings
from test_evaluation import ideal
from toy_emoji import toy_emoji

ACCURACY = {"as they are": {"top-1": 1.0, "top-5": 1.0}}


@pytest.fixture(scope="module")
def data() -> EmojiDataset:
    return toy_emoji(64)


@pytest.fixture(scope="module")
def classifier(data: EmojiDataset) -> EmojiClassifier:
    """Trained on the toys for a moment."""
    torch.manual_seed(0)
    recipe = replace(EMOJI, epochs=40, batch=len(data), dtype=torch.float32, change=lambda x, _: x)
    *_, (_, network) = train(EmojiClassifier(len(data.concepts)), data.pictures, data.concept, recipe)
    return network


@pytest.fixture(scope="module")
def judge(data: EmojiDataset, classifier: EmojiClassifier) -> EmojiJudge:
    features, _ = classifier.read(to_house_range(data.pictures))
    return EmojiJudge(
        classifier=classifier,
        concepts=data.concepts,
        styles=data.styles,
        features=features,
        concept=data.concept,
        style=data.style,
        accuracy=ACCURACY,
    )


# -- the classifier


def test_features_have_one_length_and_pictures_are_read_by_themselves(
    data: EmojiDataset, classifier: EmojiClassifier
) -> None:
    x = to_house_range(data.pictures)
    features, logits = classifier.read(x)
    assert logits.shape == (len(data), len(data.concepts))
    torch.testing.assert_close(features.norm(dim=1), torch.full((len(data),), 128**0.5))
    alone, _ = classifier.read(x[3:4])
    torch.testing.assert_close(alone, features[3:4], rtol=1e-3, atol=1e-3)


def test_it_learns_the_toys(data: EmojiDataset, classifier: EmojiClassifier) -> None:
    found = measured(classifier, data.pictures, data.concept)
    assert list(found) == ["as they are", *HELD_OUT]
    assert found["as they are"]["top-1"] > 0.8
    assert found["sheared"]["top-5"] > 0.5


def test_it_is_published_and_read_again(
    tmp_path: Path, data: EmojiDataset, classifier: EmojiClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "emoji-classifier"
    publish(classifier, data, folder)
    monkeypatch.setattr(emoji, "FOLDER", folder)
    load_emoji_judge.cache_clear()
    try:
        found = load_emoji_judge()
        x = to_house_range(data.pictures)
        features, read = found.read(x)
        assert (found.concepts, found.styles) == (data.concepts, data.styles)
        assert torch.equal(found.concept, data.concept)
        assert torch.equal(found.style, data.style)
        torch.testing.assert_close(features, found.features, rtol=0, atol=0.022)  # stored by steps of 1/24
        assert (read.argmax(1) == classifier.read(x)[1].argmax(1)).float().mean() > 0.9
        assert found.accuracy == measured(found.classifier, data.pictures, data.concept)
        load_emoji_judge.cache_clear()
        (folder / "model.json").write_text(
            (folder / "model.json").read_text().replace('"concepts"', '"words"')
        )
        with pytest.raises(SfumatoError, match=folder.name):
            load_emoji_judge()
        monkeypatch.setattr(emoji, "FOLDER", tmp_path / "nowhere")
        with pytest.raises(ModelUnavailableError, match="nowhere"):
            load_emoji_judge()
    finally:
        load_emoji_judge.cache_clear()


# -- the one that ships


def test_the_shipped_judge_reads_real_emoji(data: EmojiDataset) -> None:
    judge = load_emoji_judge()
    labels = [concept.label for concept in judge.concepts]
    wanted = torch.tensor([labels.index(data.concepts[row].label) for row in data.concept.tolist()])
    features, read = judge.read(to_house_range(data.pictures))
    assert (read.argmax(1) == wanted).double().mean() >= 0.9
    row, distance = judge.nearest(features)
    assert distance.median() < 0.01
    assert (judge.concept[row] == wanted).double().mean() >= 0.9


def test_the_shipped_judge_is_small_and_states_its_accuracy() -> None:
    judge = load_emoji_judge()
    assert sum(path.stat().st_size for path in emoji.FOLDER.glob("*.safetensors")) <= 4_000_000
    assert sum(parameter.numel() for parameter in judge.classifier.parameters()) <= 2_000_000
    assert set(judge.accuracy) == {"as they are", *HELD_OUT}
    assert len(judge.concepts) > 1200
    assert len(held_out_wordings(judge.concepts)) > 280


# -- words


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("rocket", {"rocket"}),
        ("A Rocket", {"rocket"}),
        ("an oil painting of a rocket", {"rocket"}),
        ("a red apple on a white background", {"red apple"}),
        ("a drawing of the skull, flat style", {"skull"}),
        ("pen, in the style of flat", {"pen"}),
        ("a pen, 3d emoji", {"pen"}),
        ("a pen in a noto style", {"pen"}),
        ("dice", {"game die"}),
        ("steak", {"cut of meat"}),
        ("a big friendly puppy dog", {"dog", "dog face"}),
    ],
)
def test_what_a_prompt_means(text: str, labels: set[str]) -> None:
    judge = load_emoji_judge()
    meant = {judge.concepts[row].label for row in judge.meaning(text)}
    assert meant
    assert meant <= labels


def test_a_keyword_of_many_means_any_of_them() -> None:
    judge = load_emoji_judge()
    assert len(judge.meaning("animal")) > 50
    assert judge.meaning("animal") == judge.meaning("a photo of an animal")


# -- what models score


def shown(judge: EmojiJudge, data: EmojiDataset, prompts: Sequence[str], *, off: int = 0) -> Tensor:
    """A perfect model: the data set's own picture of what each prompt means, or of `off` concepts further."""
    rows = [(min(judge.meaning(text)) + off) % len(data.concepts) for text in prompts]
    first = [int((data.concept == row).nonzero()[0]) for row in rows]
    return to_house_range(data.pictures[first])


def test_a_perfect_model_and_a_wrong_one(judge: EmojiJudge, data: EmojiDataset) -> None:
    good = evaluate(lambda prompts, _: shown(judge, data, prompts), judge=judge)
    assert good.labels.count == len(data.concepts)
    assert good.labels.top_1 > 0.8
    assert good.labels.top_5 == 1
    wordings = held_out_wordings(data.concepts)
    assert good.wordings.count == len(wordings) > 0
    assert (good.synonyms.count if good.synonyms else 0) == sum(w.synonym for w in wordings)
    assert good.distance < 1e-3 < good.real_distance
    assert good.own_nearest == 1
    assert good.real.top_1 == 1
    wrong = evaluate(lambda prompts, _: shown(judge, data, prompts, off=1), judge=judge)
    assert wrong.labels.top_1 < 0.2
    assert wrong.own_nearest == 0
    noise = evaluate(
        lambda prompts, seed: torch.randn(
            len(prompts), 3, 64, 64, generator=torch.Generator().manual_seed(seed)
        ),
        judge=judge,
    )
    assert noise.fid > 3 * good.fid
    assert noise.distance > 10 * good.distance


def test_the_labels_asked_follow_from_the_seed(judge: EmojiJudge, data: EmojiDataset) -> None:
    asked: list[list[str]] = []

    def draw(prompts: Sequence[str], seed: int) -> Tensor:  # noqa: ARG001
        asked.append(list(prompts))
        return shown(judge, data, prompts)

    for seed in (1, 1, 2):
        evaluate(draw, count=3, seed=seed, judge=judge)
    labels = asked[::2]
    assert labels[0] == labels[1] != labels[2]
    assert all(len(set(some)) == 3 for some in labels)


def test_larger_pictures_are_read_as_their_smaller_selves(judge: EmojiJudge, data: EmojiDataset) -> None:
    x = to_house_range(data.pictures[:4])
    larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(judge.read(larger)[0], judge.read(x)[0], rtol=1e-4, atol=1e-4)


def test_bad_evaluations_are_refused(judge: EmojiJudge) -> None:
    with pytest.raises(UsageError, match=r"2 .*1"):
        evaluate(lambda prompts, _: torch.zeros(len(prompts), 3, 64, 64), count=1, judge=judge)
    with pytest.raises(UsageError, match=r"\(3, 3, S, S\).*\(1, 3, 64, 64\)"):
        evaluate(lambda *_: torch.zeros(1, 3, 64, 64), count=3, judge=judge)
    with pytest.raises(UsageError, match=r"64 .*32 x 32"):
        evaluate(lambda prompts, _: torch.zeros(len(prompts), 3, 32, 32), count=3, judge=judge)
    with pytest.raises(SfumatoError, match="NaN"):
        evaluate(lambda prompts, _: torch.full((len(prompts), 3, 64, 64), torch.nan), count=3, judge=judge)
    with pytest.raises(UsageError, match="ideal"):
        draw_function(ideal(10))


def test_ranks_count_what_comes_before() -> None:
    read = torch.tensor([[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]]).log()
    assert ranks(read, frozenset({2})).tolist() == [2, 2]
    assert ranks(read, frozenset({0, 1})).tolist() == [1, 1]


def test_who_reads_what() -> None:
    assert reader_of(ideal(10)).meaning("seven") == frozenset({7})
    for shape in ((1, 28, 28), (3, 32, 32), (3, 64, 96)):
        with pytest.raises(UsageError, match="ideal"):
            reader_of(ideal(None, shape))
    assert reader_of(ideal(None, (3, 64, 64))) is load_emoji_judge()
    with pytest.raises(UsageError, match="'ten'"):
        reader_of(ideal(10)).meaning("ten")

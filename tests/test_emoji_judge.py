"""The classifier of emoji, what its classes are called, and what a model of emoji scores."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tools.emoji_examples import SHARES, Examples
from tools.generated import Generated
from tools.negatives import moves_of
from tools.resumable import Progress
from tools.train_digit_classifier import train
from tools.train_emoji_classifier import EMOJI, HELD_OUT, measured, publish, read_as_none
from torch import Tensor

from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.evaluation import emoji
from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.emoji import (
    EmojiJudge,
    draw_function,
    evaluate,
    load_emoji_judge,
    read_emoji_judge,
)
from sfumato.evaluation.reader import ranks
from sfumato.evaluation.readers import reader_of
from sfumato.models.files.store import read_description, read_folder, write_description, write_folder
from sfumato.training.data import to_house_range
from sfumato.training.emoji import EmojiDataset, held_out_wordings
from test_evaluation import ideal
from toy_emoji import toy_emoji

ACCURACY = {"as they are": {"top-1": 1.0, "top-5": 1.0}}


@pytest.fixture(scope="module")
def data() -> EmojiDataset:
    return toy_emoji(64)


@pytest.fixture(scope="module")
def examples(data: EmojiDataset) -> Examples:
    """The toys; the model's failures are noise."""
    noise = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    made = Generated(
        failures=noise.to(torch.uint8), plain=data.pictures[:4].clone(), concept=data.concept[:4]
    )
    return Examples(data=data, moves=moves_of(data), generated=made)


@pytest.fixture(scope="module")
def classifier(examples: Examples) -> EmojiClassifier:
    """Trained on the toys for a moment."""
    torch.manual_seed(0)
    recipe = replace(EMOJI, epochs=45, batch=len(examples), dtype=torch.float32, change=lambda x, _: x)
    *_, (_, network) = train(EmojiClassifier(examples.none + 1), len(examples), examples.draw, recipe)
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
    assert logits.shape == (len(data), len(data.concepts) + 1)
    torch.testing.assert_close(features.norm(dim=1), torch.full((len(data),), 128**0.5))
    alone, _ = classifier.read(x[3:4])
    torch.testing.assert_close(alone, features[3:4], rtol=1e-3, atol=1e-3)


def test_it_learns_the_toys(data: EmojiDataset, classifier: EmojiClassifier) -> None:
    found = measured(classifier, data.pictures, data.concept)
    assert list(found) == ["as they are", *HELD_OUT]
    assert found["as they are"]["top-1"] > 0.8
    assert found["sheared"]["top-5"] > 0.5


def test_it_learns_what_shows_nothing(examples: Examples, classifier: EmojiClassifier) -> None:
    found = read_as_none(classifier, examples, 1)
    assert list(found) == ["as they are", *SHARES]
    assert found["as they are"] < 0.2
    assert found["failed"] > 0.8
    assert sum(found[name] for name in SHARES) / len(SHARES) > 0.5


def test_a_training_goes_on_where_it_was_stopped(examples: Examples, tmp_path: Path) -> None:
    recipe = replace(EMOJI, epochs=3, batch=16)
    progress = Progress(path=tmp_path / "below" / "kept", of="toys")

    def trained(progress: Progress | None, *, stop: int = 3) -> tuple[list[int], EmojiClassifier]:
        torch.manual_seed(0)
        epochs = []
        network = EmojiClassifier(examples.none + 1)
        for epoch, _ in train(network, len(examples), examples.draw, recipe, progress=progress):
            epochs.append(epoch)
            if epoch == stop:
                break
        return epochs, network

    whole = trained(None)
    assert trained(progress, stop=2)[0] == [1, 2]
    rest = trained(progress)
    assert (whole[0], rest[0]) == ([1, 2, 3], [3])
    for name, value in whole[1].state_dict().items():
        assert torch.equal(value, rest[1].state_dict()[name]), name
    with pytest.raises(SfumatoError, match="kept"):
        trained(replace(progress, of="others"))
    progress.path.write_bytes(b"nothing of the kind")
    with pytest.raises(SfumatoError, match="kept"):
        trained(progress)
    progress.remove()
    assert trained(progress, stop=1)[0] == [1]


@pytest.fixture(scope="module")
def publication(
    tmp_path_factory: pytest.TempPathFactory, examples: Examples, classifier: EmojiClassifier
) -> Path:
    folder = tmp_path_factory.mktemp("published") / "emoji-classifier"
    publish(classifier, examples, folder)
    return folder


@pytest.fixture
def published(tmp_path: Path, publication: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(publication, tmp_path / publication.name))


def test_it_is_published_and_read_again(
    published: Path, data: EmojiDataset, classifier: EmojiClassifier
) -> None:
    found = read_emoji_judge(published)
    x = to_house_range(data.pictures)
    features, read = found.read(x)
    assert (found.concepts, found.styles) == (data.concepts, data.styles)
    assert torch.equal(found.concept, data.concept)
    assert torch.equal(found.style, data.style)
    torch.testing.assert_close(features, found.features, rtol=0, atol=0.022)  # stored by steps of 1/24
    logits = classifier.read(x)[1]
    assert (read.argmax(1) == logits.argmax(1)).float().mean() > 0.9
    torch.testing.assert_close(read, logits.log_softmax(1), rtol=0, atol=0.1)  # stored as float16
    assert found.accuracy == measured(found.classifier, data.pictures, data.concept)
    assert (found.temperature, found.none_bias) == (1, 0)
    assert set(read_description(published)["read_as_none"]) == {"as they are", *SHARES}


def test_a_calibration_divides_and_shifts(published: Path, data: EmojiDataset) -> None:
    description = read_description(published)
    x = to_house_range(data.pictures)
    plain = read_emoji_judge(published).read(x)[1]
    write_description(published / "model.json", {**description, "temperature": 2.5, "none_bias": 3.0})
    found = read_emoji_judge(published)
    read, none = found.log_probabilities(x), found.none
    assert none == len(data.concepts) == read.shape[1] - 1
    torch.testing.assert_close(read.exp().sum(1), torch.ones(len(x)))
    apart = plain[:, :1] - plain[:, 1:2]  # between two concepts
    torch.testing.assert_close(read[:, :1] - read[:, 1:2], apart / 2.5, rtol=1e-3, atol=1e-3)
    nothing = plain[:, none] - plain[:, 0]
    torch.testing.assert_close(read[:, none] - read[:, 0], (nothing + 3) / 2.5, rtol=1e-3, atol=1e-3)


def test_a_classifier_without_none_is_read_and_never_answers_it(published: Path, data: EmojiDataset) -> None:
    description, tensors = read_folder(published)
    tensors["head.weight"] = tensors["head.weight"][: len(data.concepts)]
    whole = read_emoji_judge(published).logits(to_house_range(data.pictures))[1]
    for key in ("temperature", "none_bias", "read_as_none", "weights"):
        del description[key]
    write_folder(published, {**description, "format": 1}, tensors)
    found = read_emoji_judge(published)
    read = found.log_probabilities(to_house_range(data.pictures))
    assert read[:, found.none].exp().eq(0).all()
    torch.testing.assert_close(read[:, :-1], whole[:, :-1].log_softmax(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [{"concepts": None}, {"format": 3}, {"temperature": "warm"}])
def test_what_is_no_judge_is_refused(published: Path, change: dict[str, object]) -> None:
    write_description(published / "model.json", {**read_description(published), **change})
    with pytest.raises(SfumatoError, match=published.name):
        read_emoji_judge(published)


def test_a_judge_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="nowhere"):
        read_emoji_judge(tmp_path / "nowhere")


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
    assert sum(path.stat().st_size for path in emoji.FOLDER.glob("*.safetensors")) <= 5_500_000
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

"""The table of word vectors: how words are found in it, how it is packed, and how it was made."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.convert_words import joined, main, pack, read_wordnet, retrofitted, weights, without_common

from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.models.text.word_vectors import (
    BAG,
    FOLDER,
    MOST,
    WordVectors,
    load_word_vectors,
    read_word_vectors,
    unpack,
    words_of,
)
from spoiled import edit

WORDS = ["dog", "puppy", "bus", "bake", "jog", "rocket"]


def table() -> WordVectors:
    torch.manual_seed(0)
    weight = torch.linspace(0.5, 1, len(WORDS))
    return WordVectors(WORDS, pack(torch.randn(len(WORDS), BAG)), weight, sha256="")


# ---------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Dogs", "dog"),
        ("the dog's", "dog"),
        ("puppies", "puppy"),
        ("buses", "bus"),
        ("baked", "bake"),
        ("baking", "bake"),
        ("jogs", "jog"),
        ("a photo of a rocket on a white background", "rocket"),
        ("rocket, noto style", "rocket"),
        ("dóg \U0001f600 3", "dog"),
        ("puppy, dog", "dog puppy"),
        ("a flurble dog", "dog"),
    ],
)
def test_a_text_is_the_sum_of_the_words_that_are_known(text: str, same: str) -> None:
    one, other = table().bag([text, same])
    assert float(one.norm()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_telling_words_weigh_more() -> None:
    words = table()
    dog, rocket, both = words.bag(["dog", "rocket", "dog rocket"])
    torch.testing.assert_close(both, F.normalize(0.5 * dog + rocket, dim=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["", "flurble", "\U0001f600", "猫", "as", "a photo of a"])
def test_a_text_without_a_known_word_is_zero(text: str) -> None:
    assert table().bag([text]).shape == (1, BAG)
    assert not table().bag([text]).any()


def test_what_is_no_word_is_not_read() -> None:
    found = words_of("Hear-no-evil: naïve, the dog's 2nd!")
    assert found == ["hear", "no", "evil", "naive", "the", "dog", "nd"]


# --------------------------------------------------------------------------------------------------- packed


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 5), size=st.floats(1e-3, 1e3), seed=st.integers(0, 999))
def test_four_bits_keep_the_direction(rows: int, size: float, seed: int) -> None:
    vectors = torch.randn(rows, BAG, generator=torch.Generator().manual_seed(seed)) * size
    packed = pack(vectors)
    assert packed.dtype is torch.uint8
    assert packed.shape == (rows, BAG // 2)
    assert F.cosine_similarity(unpack(packed), vectors).min() > 0.98


def test_what_four_bits_can_say_exactly_is_kept() -> None:
    exact = torch.arange(-MOST, MOST + 1.0).repeat(2)[None]  # (1, 30)
    # the largest is cut at three quarters: a value that large is beyond what the others are scaled by
    outlier = torch.cat([exact, torch.full((1, 2), MOST / 0.75)], dim=1)
    assert unpack(pack(outlier)).tolist() == [[*exact[0].tolist(), MOST, MOST]]


# ------------------------------------------------------------------------------------------ how it is made


NOUNS = """  1 This is the licence
00000001 05 n 02 dog 0 domestic_dog 0 002 @ 00000003 n 0000 + 00000001 v 0101 | a pet; "man bites dog"
00000002 05 n 02 puppy 0 whelp 0 001 @ 00000001 n 0000 | young
00000003 05 n 01 animal 0 000 | alive
00000004 05 n 01 rex 0 001 @i 00000001 n 0000 | a famous one
00000005 05 n 01 paw 0 001 #p 00000001 n 0000 | a foot
"""
VERBS = "00000001 38 v 01 hound 0 001 + 00000001 n 0101 01 + 08 00 | go after\n"
ADJECTIVES = (
    "00000001 00 a 01 good(p) 0 001 ! 00000002 a 0101 | not bad\n00000002 00 s 01 bad 0 000 | not good\n"
)


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for name, content in (("noun", NOUNS), ("verb", VERBS), ("adj", ADJECTIVES), ("adv", "")):
        (folder / f"data.{name}").write_text(content)
    return folder


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    """Three hundred words of no meaning, and those of the little WordNet."""
    torch.manual_seed(1)
    words = ["dog", "puppy", "whelp", "animal", "rex", "paw", "hound", "good", "bad", "3d"]
    words += [f"word{i}" for i in range(300)]
    vectors = {word: [*torch.randn(100).tolist(), 1.0, i] for i, word in enumerate(words)}
    path = tmp_path / "glove.json"
    path.write_text(json.dumps({"vectors": vectors}))
    return path


@pytest.fixture
def made(glove: Path, wordnet: Path, tmp_path: Path) -> Path:
    """A little table."""
    main(glove, wordnet, tmp_path / "made")
    return tmp_path / "made"


def test_words_are_joined_as_wordnet_says(wordnet: Path) -> None:
    words = ["dog", "puppy", "whelp", "animal", "rex", "paw", "hound", "good", "bad"]
    pairs = joined(read_wordnet(wordnet), {word: i for i, word in enumerate(words)})
    found = {(words[i], words[j]) for i, j in pairs.tolist()}
    both = {
        ("dog", "animal"),
        ("dog", "hound"),
        ("puppy", "whelp"),
        ("puppy", "dog"),
        ("whelp", "dog"),
        ("rex", "dog"),
    }
    assert found == both | {(two, one) for one, two in both} | {("paw", "dog")}


def test_two_that_are_joined_end_a_third_of_the_way_apart() -> None:
    """The update's fixed point: q1 = (v1 + q2) / 2 and q2 = (v2 + q1) / 2 give q1 = (2 v1 + v2) / 3."""
    v = F.normalize(torch.randn(3, 100, generator=torch.Generator().manual_seed(2)), dim=1)
    found = retrofitted(v, torch.tensor([[0, 1], [1, 0]]))
    expected = torch.stack([(2 * v[0] + v[1]) / 3, (2 * v[1] + v[0]) / 3, v[2]])
    torch.testing.assert_close(found, F.normalize(expected, dim=1), rtol=0, atol=1e-3)  # halved in each round


def test_what_all_words_share_is_taken_out() -> None:
    torch.manual_seed(3)
    meaning, shared = torch.randn(500, 100), torch.randn(3, 100)
    shared[1:] *= 30 * torch.ones(2, 1)
    vectors = meaning + shared[0] + torch.randn(500, 2) @ shared[1:]
    left = without_common(vectors)
    torch.testing.assert_close(left.norm(dim=1), torch.ones(500))
    for direction in F.normalize(shared[1:], dim=1):
        assert float((left @ direction).abs().max()) < 0.02


def test_weights_rise_with_rarity() -> None:
    weight = weights(10_000)
    assert (weight.diff() > 0).all()
    assert 0 < float(weight[0]) < 0.05
    assert 0.9 < float(weight[-1]) < 1


def test_a_table_can_be_made_again(made: Path, glove: Path, wordnet: Path, tmp_path: Path) -> None:
    main(glove, wordnet, tmp_path / "again")
    for path in made.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_table_is_made_of_the_words_that_both_know(made: Path) -> None:
    words = read_word_vectors(made)
    assert words.bag(["dog", "puppy", "whelp", "animal", "paw", "hound", "good", "bad"]).any(1).all()
    assert not words.bag(
        ["rex", "word7", "domestic"]
    ).any()  # a proper name; no word of WordNet's; half of one


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g, w: g.write_text("{}"), r"glove\.json holds no word vectors to convert"),
        (lambda g, w: g.write_text("[1"), "holds no word vectors to convert"),
        (lambda g, w: g.unlink(), "holds no word vectors to convert"),
        (lambda g, w: (w / "data.verb").unlink(), r"data\.verb is no data file of WordNet"),
        (lambda g, w: (w / "data.adj").write_text("good bad\n"), r"data\.adj is no data file of WordNet"),
    ],
)
def test_other_sources_are_refused(glove: Path, wordnet: Path, tmp_path: Path, damage, message) -> None:
    damage(glove, wordnet)
    with pytest.raises(UsageError, match=message):
        main(glove, wordnet, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda f: (f / "model.json").unlink(), ModelUnavailableError, "no model at"),
        (lambda f: (f / "words.txt").unlink(), ModelUnavailableError, r"no file at .*words\.txt"),
        (lambda f: (f / "words.txt").write_text("dog"), SfumatoError, "has not the sha256"),
        (lambda f: edit(f, format=2), SfumatoError, "is no table of word vectors that this version reads"),
        (lambda f: edit(f, kind="classifier"), SfumatoError, "is no table of word vectors that this version"),
    ],
)
def test_a_damaged_table_is_refused(made: Path, damage, kind, message) -> None:
    damage(made)
    with pytest.raises(kind, match=message):
        read_word_vectors(made)


def test_a_table_has_a_row_for_each_word() -> None:
    with pytest.raises(ValueError, match=r"2 words have rows \(3, 48\), \(3,\)"):
        WordVectors(["a", "b"], torch.zeros(3, 48, dtype=torch.uint8), torch.zeros(3), sha256="")


# ------------------------------------------------------------------------------------------ the shipped table


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [
        ("puke", "vomit", ("dog", "rocket", "smile")),
        ("rucksack", "backpack", ("camel", "house", "tree")),
        ("infant", "baby", ("adult", "car", "apple")),
        ("aubergine", "eggplant", ("purple", "car", "egg")),
        ("an oil painting of puppies", "dog", ("painting", "oil", "apple")),
    ],
)
def test_words_that_mean_the_same_lie_together(word: str, near: str, far: tuple[str, ...]) -> None:
    mine, right, *wrong = load_word_vectors().bag([word, near, *far])
    assert mine @ right > max(mine @ other for other in wrong) + 0.1


def test_the_folder_can_be_shipped() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3_000_000

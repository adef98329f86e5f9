"""The text encoder: its network against transformers', its weights against the original's answers."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tools.convert_text import bert_config, bert_state, main, quantise
from torch import Tensor
from transformers import BertConfig, BertModel

from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.models.text.bert import Bert
from sfumato.models.text.encoder import FOLDER, LENGTH, ROWS, load_text_encoder, read_text_encoder
from sfumato.models.text.int8 import GROUP, SCALE, restore
from sfumato.models.text.word_vectors import BAG, WordVectors, load_word_vectors
from spoiled import edit

ORIGINAL = Path(__file__).parent / "data" / "minilm.safetensors"  # made by bench/text_encoder.py --keep
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "apple", "dog", "##s"]


def original() -> BertModel:
    """A BERT of transformers, none of whose weights is zero or one."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=80,
    )
    network = BertModel(config)
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("LayerNorm.weight" in name), std=0.3)
    return network.eval()


def ours(theirs: BertModel, positions: int = 80) -> Bert:
    network = Bert(**bert_config(theirs.config.to_dict(), positions=positions))
    network.load_state_dict(bert_state(theirs.state_dict(), positions=positions))
    return network.eval()


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return F.cosine_similarity(one.float(), other.float(), dim=-1)


# -------------------------------------------------------------------------------------------------- network


@torch.no_grad()
def test_equal_weights_give_transformers_states():
    theirs = original()
    ids = torch.randint(0, len(WORDS), (5, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(12) < torch.tensor([12, 1, 2, 7, 11])[:, None]
    expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    found = ours(theirs)(ids, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_fewer_positions_change_nothing_for_texts_that_fit():
    theirs = original()
    ids, mask = torch.arange(9)[None], torch.ones(1, 9, dtype=torch.bool)
    torch.testing.assert_close(ours(theirs, 9)(ids, mask), ours(theirs)(ids, mask), rtol=0, atol=0)


@torch.no_grad()
def test_padding_is_not_seen():
    network = ours(original())
    ids = torch.arange(9)[None].repeat(2, 1)
    ids[1, 5:] = 0
    mask = (torch.arange(9) < 5).repeat(2, 1)
    states = network(ids, mask)[:, :5]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_another_make_of_bert_is_refused():
    config = {**original().config.to_dict(), "hidden_act": "relu"}
    with pytest.raises(UsageError, match=r"config\.json has {'hidden_act': 'relu'}; the encoder that can be"):
        bert_config(config, positions=64)


# ----------------------------------------------------------------------------------------------------- int8


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 5), groups=st.integers(1, 4), size=st.floats(1e-2, 1e3), seed=st.integers(0, 99))
def test_int8_is_off_by_at_most_half_a_step(rows, groups, size, seed):
    w = torch.randn(rows, groups * GROUP, generator=torch.Generator().manual_seed(seed)) * size
    stored = quantise({"w": w})
    assert stored["w"].dtype is torch.int8
    largest = w.unflatten(1, (groups, GROUP)).abs().amax(2).repeat_interleave(GROUP, dim=1)
    step = largest / 127
    off = (restore(stored)["w"] - w).abs()
    assert (off <= 0.5 * step + largest * 2**-11 * 1.01 + 1e-6).all()


def test_int8_keeps_what_it_can_say_exactly():
    exact = torch.arange(-127.0, 129.0).clamp(max=127).view(8, GROUP)
    exact[:, 0] = 127
    zeros = torch.zeros(2, GROUP)
    bias = torch.tensor([0.1, 1e-9])
    stored = quantise({"exact": exact / 16, "zeros": zeros, "bias": bias})
    assert set(stored) == {"exact", "exact" + SCALE, "zeros", "zeros" + SCALE, "bias"}
    found = restore(stored)
    assert set(found) == {"exact", "zeros", "bias"}
    for name, expected in {"exact": exact / 16, "zeros": zeros, "bias": bias}.items():
        torch.testing.assert_close(found[name], expected, rtol=2e-7 if name == "exact" else 0, atol=0)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (torch.ones(2, GROUP + 1), "w: rows of 33 are not whole groups of 32"),
        (torch.full((1, GROUP), float("nan")), "w holds values that int8 with float16 scales cannot hold"),
        (torch.full((1, GROUP), 1e8), "w holds values that int8"),
    ],
)
def test_what_int8_cannot_hold_is_refused(w, message):
    with pytest.raises(UsageError, match=message):
        quantise({"w": w})


# -------------------------------------------------------------------------------------- the shipped encoder


def kept() -> tuple[list[str], list[Tensor]]:
    """Texts, and their token states (L, D) by the original in float32, run by transformers."""
    with safe_open(ORIGINAL, framework="pt") as file:
        texts = json.loads(file.metadata()["texts"])
        return texts, [file.get_tensor(str(i)).float() for i in range(len(texts))]


def test_the_shipped_weights_answer_as_the_original_does():
    texts, states = kept()
    found = load_text_encoder().encode(texts)
    assert found.mask.sum(1).tolist() == [len(s) for s in states]
    assert cosine(found.tokens[found.mask], torch.cat(states)).min() >= 0.999
    sentences = torch.stack([s.mean(0) for s in states])  # their pooling: the mean, then unit norm
    assert cosine(found.sentence, sentences).min() >= 0.999


def test_shapes_ranges_and_padding():
    found = load_text_encoder().encode(["a dog", "", "a red apple on a white background"])
    assert found.sentence.shape == (3, 384)
    assert found.tokens.shape == (3, 9, 384)
    assert found.mask.sum(1).tolist() == [4, 2, 9]
    assert (found.sentence.dtype, found.tokens.dtype, found.mask.dtype) == (
        torch.float32,
        torch.float32,
        torch.bool,
    )
    assert found.tokens[~found.mask].count_nonzero() == 0
    torch.testing.assert_close(found.sentence.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(found.sentence, F.normalize(found.tokens.sum(1), dim=1))


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("puppy", "dog", ("rocket", "spaghetti", "umbrella", "cloud", "bus")),
        ("kitty", "cat", ("rocket", "spaghetti", "umbrella", "cloud", "bus")),
        ("a red apple on a white background", "red apple", ("green tree", "blue car", "white wall", "lemon")),
        ("PUPPY!", "puppy", ("dog", "rocket")),
    ],
)
def test_words_that_mean_the_same_lie_together(text, near, far):
    mine, right, *wrong = load_text_encoder().encode([text, near, *far]).sentence
    assert mine @ right > max(mine @ other for other in wrong) + 0.1


def test_a_text_is_the_same_alone_and_beside_others():
    encoder = load_text_encoder()
    texts = ["dog", "", "a red apple on a white background", "word " * 60, *["cat"] * ROWS]
    together = encoder.encode(texts)
    for i in (0, 1, 2, 3, len(texts) - 1):
        alone = encoder.encode([texts[i]])
        length = alone.tokens.shape[1]
        assert together.mask[i].sum() == length
        torch.testing.assert_close(together.sentence[i], alone.sentence[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.tokens[i, :length], alone.tokens[0], rtol=0, atol=1e-5)


def test_a_long_text_is_cut():
    encoder = load_text_encoder()
    long, just = "dog " * 500, "dog " * (LENGTH - 2)
    assert (encoder.cuts(long), encoder.cuts(just)) == (True, False)
    cut = encoder.encode([long])
    assert cut.tokens.shape == (1, LENGTH, 384)
    torch.testing.assert_close(cut.tokens, encoder.encode([just]).tokens, rtol=0, atol=0)


def test_texts_of_other_scripts_are_encoded():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_text_encoder().encode(["дом", "café", "a 猫 \U0001f680", "\x00\n"])
    assert found.sentence.isfinite().all()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a red apple on a white background", []),
        ("Two Dogs, running; it's 3d!", []),
        ("una manzana roja", ["manzana", "roja"]),
        ("Apfel", ["apfel"]),
        ("яблоко りんご 사과 苹果", ["яблоко", "りんご", "사과", "苹果"]),
        ("xkqzv, xkqzv", ["xkqzv"]),
        ("word" * 300, ["word" * 300]),
        ("", []),
        ("!?", []),
    ],
)
def test_words_that_nothing_knows(text, unknown):
    assert load_text_encoder().unknown_words(text) == unknown


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a dog", "takes a list of texts, not a str"),
        (3, "takes a list of texts, not a int"),
        ([], "was given no text"),
        (["a dog", None], "takes texts, not a NoneType"),
        (["a dog", b"a cat"], "takes texts, not a bytes"),
        (["ab\ud83d\n"], r"'ab\\ud83d\\n' holds half a character \(a lone surrogate\) at 2: take it out"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(texts, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_text_encoder().encode(texts)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()  # can be printed


def test_what_was_encoded_can_be_trained_on():
    found = load_text_encoder().encode(["dog"])
    layer = torch.nn.Linear(384, 1)
    layer(found.tokens).sum().backward()
    torch.testing.assert_close(layer.weight.grad, found.tokens.sum((0, 1))[None])


def test_one_encoder_a_process_named_by_its_weights(converted: Path):
    assert load_text_encoder() is load_text_encoder()
    assert read_text_encoder(FOLDER, load_word_vectors()).sha256 == load_text_encoder().sha256
    other = WordVectors(["dog"], torch.zeros(1, BAG // 2, dtype=torch.uint8), torch.ones(1), sha256="other")
    assert read_text_encoder(FOLDER, other).sha256 != load_text_encoder().sha256
    assert read_text_encoder(converted, load_word_vectors()).sha256 != load_text_encoder().sha256


def test_the_folder_can_be_shipped():
    sizes = [path.stat().st_size for path in FOLDER.iterdir()]
    assert max(sizes) <= 15_000_000
    assert sum(sizes) <= 25_000_000


@pytest.mark.slow
def test_the_encoder_imports_nothing_that_is_slow():
    code = (
        "import sys\n"
        "from sfumato.models.text.encoder import load_text_encoder\n"
        "load_text_encoder().encode(['dog'])\n"
        "assert not {'transformers', 'huggingface_hub', 'torch._dynamo'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ---------------------------------------------------------------------------------------- converted folders


def words() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=40)  # as the original's file has it: not wanted here
    return tokenizer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An original to convert."""
    folder = tmp_path / "original"
    folder.mkdir()
    network = original()
    (folder / "config.json").write_text(json.dumps(network.config.to_dict()))
    save_file(network.state_dict(), folder / "model.safetensors")
    words().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def converted(source: Path, tmp_path: Path) -> Path:
    main(source, tmp_path / "ours")
    return tmp_path / "ours"


@torch.no_grad()
def test_what_is_converted_answers_as_the_original(converted: Path):
    texts = ["A red apple", "", "dogs dogs red", "apple pie"]
    found = read_text_encoder(converted, load_word_vectors()).encode(texts)
    theirs = original()
    for i, text in enumerate(texts):
        encoding = words().encode(text)
        ids = [token for token, real in zip(encoding.ids, encoding.attention_mask, strict=True) if real]
        expected = theirs(input_ids=torch.tensor([ids])).last_hidden_state[0]
        assert found.mask[i].sum() == len(ids)
        assert cosine(found.tokens[i, : len(ids)], expected).min() > 0.999
        assert cosine(found.sentence[i], expected.mean(0)) > 0.999


def test_a_conversion_can_be_repeated(source: Path, converted: Path, tmp_path: Path):
    main(source, tmp_path / "again")
    for path in converted.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_is_no_original_is_not_converted(source: Path, tmp_path: Path, missing):
    (source / missing).unlink()
    with pytest.raises(UsageError, match=f"holds no original to convert: .*{missing}"):
        main(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def stated(folder: Path) -> dict[str, int]:
    network: dict[str, int] = json.loads((folder / "model.json").read_text())["network"]
    return network


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda f: (f / "model.json").unlink(), ModelUnavailableError, "no model at"),
        (lambda f: (f / "tokenizer.json").unlink(), ModelUnavailableError, r"no file at .*tokenizer\.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), SfumatoError, "has not the sha256"),
        (lambda f: edit(f, files=[]), SfumatoError, r"states no hash of tokenizer\.json"),
        (lambda f: edit(f, format=2), SfumatoError, "is not a text encoder that this version reads"),
        (lambda f: edit(f, kind="classifier"), SfumatoError, "is not a text encoder that this version reads"),
        (lambda f: edit(f, network=None), SfumatoError, "does not hold a text encoder"),
        (lambda f: edit(f, network={"words": 3}), SfumatoError, "does not hold a text encoder"),
        (
            lambda f: edit(f, network={**stated(f), "layers": 4}),
            SfumatoError,
            "does not hold a text encoder",
        ),
    ],
)
def test_a_damaged_encoder_is_refused_in_one_line(converted: Path, damage, kind, message):
    damage(converted)
    with pytest.raises(kind, match=message) as caught:
        read_text_encoder(converted, load_word_vectors())
    assert "\n" not in str(caught.value)

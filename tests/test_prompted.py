"""The network that is asked with words, the model around it, and the captions that it is trained on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.core.schedule import Flow
from sfumato.errors import UsageError
from sfumato.evaluation.emoji import load_emoji_judge
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.saved import build_model, load_model, save_model
from sfumato.models.networks.text_to_image import WORD, PromptedUNet, Recall, Words
from sfumato.models.text.encoder import load_text_encoder
from sfumato.models.text.word_vectors import BAG
from sfumato.models.text_to_image import TextConditioner
from sfumato.training.captions import FALSE, HIDDEN, NOTHING, PLAIN, CaptionedDataset
from sfumato.training.checkpoint import checkpoint_path, read_checkpoint
from sfumato.training.emoji import captioned as captioned_module
from sfumato.training.emoji import held_out_wordings
from sfumato.training.emoji.captioned import EACH, captioned_emoji, captions_of
from sfumato.training.objective import DROPPED
from sfumato.training.presets import Preset
from tiny import PROMPTED, assert_same_bytes, captioned, newest, run
from toy_emoji import toy_emoji

STYLES = ("noto", "flat")
CONCEPTS = 4


def network(seed: int = 0) -> PromptedUNet:
    """A small one without the zeros that make a new block the identity."""
    torch.manual_seed(seed)
    net = PromptedUNet(
        side=16,
        widths=(16, 32, 32),
        blocks=(1, 1, 1),
        styles=STYLES,
        concepts=CONCEPTS,
        detail=16,
        augment=3,
    )
    assert net.recall is not None
    net.recall.remember(torch.randn(CONCEPTS, WORD), torch.randn(CONCEPTS, BAG), torch.arange(CONCEPTS + 1))
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net.eval().requires_grad_(False)


def words(rows: int, length: int = 5) -> Words:
    """Every second row asks for two things."""
    torch.manual_seed(1)
    two = torch.stack([torch.ones(rows), torch.arange(rows) % 2], dim=1)[..., None]
    sentence = two * torch.nn.functional.normalize(torch.randn(rows, 2, WORD), dim=2)
    bag = two * torch.nn.functional.normalize(torch.randn(rows, 2, BAG), dim=2)
    mask = torch.arange(length) < torch.arange(rows)[:, None] % length + 1
    return Words(
        sentence=sentence,
        bag=bag,
        tokens=torch.randn(rows, length, WORD) * mask[:, :, None],
        mask=mask,
        style=torch.arange(rows) % (len(STYLES) + 1),
        augment=torch.randn(rows, 3),
    )


def pick(w: Words, rows: slice, length: int | None = None) -> Words:
    return Words(
        sentence=w.sentence[rows],
        bag=w.bag[rows],
        tokens=w.tokens[rows, :length],
        mask=w.mask[rows, :length],
        style=w.style[rows],
        augment=None if w.augment is None else w.augment[rows],
    )


def state(rows: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(rows, 3, 16, 16), torch.rand(rows)


# -- the network


def test_rows_do_not_influence_one_another_and_padding_is_not_heard() -> None:
    net, (x, t), w = network(), state(4), words(4)
    together = net(x, t, w)
    for i in range(4):
        row, length = slice(i, i + 1), int(w.mask[i].sum())
        assert torch.allclose(net(x[row], t[row], pick(w, row, length)), together[row], atol=1e-5)


def test_what_stands_where_no_word_is_changes_nothing() -> None:
    net, (x, t), w = network(), state(3), words(3)
    noise = torch.where(w.mask[:, :, None], w.tokens, 100.0)
    louder = replace(w, tokens=noise)
    assert torch.allclose(net(x, t, louder), net(x, t, w), atol=1e-5)


def test_a_sentence_recalls_the_concept_that_its_wordings_are_nearest_to() -> None:
    recall = Recall(3, 5)
    captions = torch.nn.functional.normalize(
        torch.eye(3, WORD)[[0, 0, 1, 2]] + 0.1 * torch.eye(4, WORD), dim=1
    )
    recall.remember(captions, torch.zeros(4, BAG), torch.tensor([0, 2, 3, 4]))
    torch.nn.init.normal_(recall.values)
    asked = torch.stack([captions[0], captions[1], captions[3], torch.zeros(WORD)])
    meant, known = recall(asked, torch.zeros(4, BAG))
    own = torch.nn.functional.normalize(captions[:2].mean(0), dim=0)
    assert torch.allclose(meant[:2], own.expand(2, -1), atol=1e-3)  # both wordings of the first
    assert torch.allclose(meant[2], captions[3], atol=1e-3)
    assert torch.allclose(known[:3], recall.values[[0, 0, 2]], atol=1e-3)
    assert not meant[3].any()
    assert not known[3].any()


def test_a_sentence_between_concepts_recalls_them_alike() -> None:
    recall = Recall(3, 1)
    recall.remember(torch.eye(3, WORD), torch.zeros(3, BAG), torch.arange(4))
    recall.values.data[:, 0] = torch.tensor([1.0, 3.0, 100.0])
    between = torch.nn.functional.normalize(torch.eye(3, WORD)[0] + torch.eye(3, WORD)[1], dim=0)
    meant, known = recall(between[None], torch.zeros(1, BAG))
    assert torch.allclose(meant[0], between, atol=1e-3)
    assert float(known.detach()) == pytest.approx(2.0, abs=1e-3)


def test_words_decide_between_concepts_that_the_sentence_cannot_tell_apart() -> None:
    recall = Recall(3, 1)
    recall.remember(torch.eye(3, WORD), torch.eye(3, BAG), torch.arange(4))
    recall.values.data[:, 0] = torch.tensor([1.0, 3.0, 100.0])
    between = torch.nn.functional.normalize(torch.eye(3, WORD)[0] + torch.eye(3, WORD)[1], dim=0)
    meant, known = recall(between.expand(2, -1), torch.eye(2, BAG))
    assert torch.allclose(meant, torch.eye(2, WORD), atol=1e-3)
    assert known[:, 0].tolist() == pytest.approx([1.0, 3.0], abs=1e-3)
    # without a sentence nothing is asked for, whatever the words
    assert not recall(torch.zeros(1, WORD), torch.eye(1, BAG))[1].any()


def test_a_name_recalls_its_own_concept_though_the_mean_of_another_is_nearer() -> None:
    """As "house" lies nearer to captions of houses than to the mean of those of a house with a garden."""
    x, y, z = torch.eye(3, WORD)
    captions = torch.nn.functional.normalize(torch.stack([x + y, x, x + 0.4 * z, x + 0.4 * z]), dim=1)
    recall = Recall(2, 1)
    recall.remember(captions, torch.zeros(4, BAG), torch.tensor([0, 2, 4]))
    mean = torch.nn.functional.normalize(captions[:2].mean(0), dim=0)
    assert x @ mean < x @ captions[2]
    shares = recall.shares(captions[[1, 3]], torch.zeros(2, BAG))
    assert (shares.diag() > 0.5).all()
    assert float(recall.keys[0] @ y) > 0.05  # and what its other captions say is not forgotten


def test_captions_of_another_number_of_concepts_are_refused() -> None:
    with pytest.raises(UsageError, match="the network knows 3 concepts, the captions 2"):
        Recall(3, 5).remember(torch.eye(4, WORD), torch.eye(4, BAG), torch.tensor([0, 1, 4]))


@pytest.mark.parametrize("what", ["sentence", "bag", "tokens", "style", "augment"])
def test_every_way_in_is_heard(what: str) -> None:
    net, (x, t), w = network(), state(3), words(3)
    other = replace(w, **{what: getattr(w, what).roll(1, 0)})
    changed = (net(x, t, other) - net(x, t, w)).abs().amax((1, 2, 3))
    assert (changed > 1e-3).all()


def test_positions_are_known_even_where_all_pixels_are_equal() -> None:
    net, w = network(), words(1)
    flat = net(torch.zeros(1, 3, 16, 16), torch.ones(1), w)
    middle = flat[..., 6:10, 6:10]  # away from the edges, which convolutions see
    assert float(middle.std()) > 1e-3


def test_two_things_are_the_mean_of_both_in_any_order_and_a_missing_one_is_not_heard() -> None:
    net, (x, t), w = network(), state(2), words(2)
    swapped = replace(w, sentence=w.sentence.flip(1), bag=w.bag.flip(1))
    assert torch.allclose(net(x[1:], t[1:], pick(swapped, slice(1, 2))), net(x, t, w)[1:], atol=1e-5)
    alone = replace(w, sentence=w.sentence[:, :1], bag=w.bag[:, :1])
    told, twice = net(x, t, alone), net(x, t, w)
    assert torch.allclose(told[0], twice[0], atol=1e-5)
    assert float((told[1] - twice[1]).abs().max()) > 1e-3


def test_told_of_no_augmentation_is_told_of_zeros() -> None:
    net, (x, t), w = network(), state(2), words(2)
    silent, zeros = replace(w, augment=None), replace(w, augment=torch.zeros(2, 3))
    assert torch.equal(net(x, t, silent), net(x, t, zeros))


def test_what_is_done_at_full_size_is_nothing_when_new() -> None:
    """And a network of before, which has no such part, is built and answers as it did."""
    torch.manual_seed(3)
    new = PromptedUNet(side=16, widths=(16, 32, 32), blocks=(1, 1, 1), detail=16).eval()
    before = PromptedUNet(side=16, widths=(16, 32, 32), blocks=(1, 1, 1)).eval()
    torch.nn.init.normal_(new.out.weight)
    before.load_state_dict({k: v for k, v in new.state_dict().items() if not k.startswith("detail.")})
    (x, t), w = state(2), replace(words(2), style=torch.zeros(2, dtype=torch.int64))
    assert torch.equal(new(x, t, w), before(x, t, w))
    torch.nn.init.normal_(new.detail.out.weight)
    assert float((new(x, t, w) - before(x, t, w)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"side": 20}, "side is 20; give a multiple of 8"),
        ({"widths": (16, 30, 32)}, r"widths \(16, 30, 32\): give multiples of 16, 32 and 32"),
        ({"widths": (0, 32, 32)}, "give multiples"),
        ({"detail": 8}, "detail is 8; give a multiple of 16, or 0 for none"),
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PromptedUNet(**arguments)  # type: ignore[arg-type]


# -- the model


def model() -> sf.Model:
    return build_model(
        network(),
        name="toy",
        schedule=Flow(),
        prediction="flow",
        shape=(3, 16, 16),
        defaults=SamplingDefaults(steps=4, guidance=2.0),
    )


def answer(m: sf.Model, *conditions: Condition) -> Tensor:
    x, t = state(1)
    n = len(conditions)
    return m.denoise(x.expand(n, -1, -1, -1), t.expand(n), conditions).x0


def test_a_style_is_named_at_the_end_of_a_prompt() -> None:
    m = model()
    plain, noto, other, flat, none = answer(
        m,
        Prompt("a red apple"),
        Prompt("a red apple, noto style"),
        Prompt("a red apple in the style of NOTO"),
        Prompt("a red apple in flat style"),
        Unconditional(),
    )
    assert torch.allclose(noto, other, atol=1e-5)
    different = [plain, noto, flat, none]
    for i, one in enumerate(different):
        for two in different[:i]:
            assert float((one - two).abs().max()) > 1e-3
    unknown = answer(m, Prompt("a red apple, cubist style"))
    assert float((unknown - plain).abs().max()) > 1e-3  # no style of this network's: part of the text


def test_a_prompt_is_answered_alike_alone_and_in_company() -> None:
    m = model()
    long = Prompt("an oil painting of people around a campfire on a white background")
    together = answer(m, Prompt("dog"), long, Unconditional())
    assert torch.allclose(answer(model(), Prompt("dog"))[0], together[0], atol=1e-5)
    assert torch.allclose(answer(model(), Unconditional())[0], together[2], atol=1e-5)


def test_a_class_is_refused() -> None:
    with pytest.raises(UsageError, match="no classes such as 3"):
        answer(model(), Label(3))


def test_it_samples_fuses_and_comes_back_from_its_folder(tmp_path: Path) -> None:
    m = model()
    both = sf.anagram("an old man", "people around a campfire", view="flip")
    made = sf.sample(m, both, seed=3, count=2)
    assert made.x.shape == (2, 3, 16, 16)
    save_model(m, tmp_path / "toy")
    again = load_model(tmp_path / "toy")
    assert isinstance(again.conditioner, TextConditioner)
    assert torch.allclose(sf.sample(again, both, seed=3, count=2).x, made.x, atol=1e-4)


# -- captions


def own(data: CaptionedDataset, worded: int = 0, change: int = 0) -> int:
    """The second of seven captions in the last of two styles."""
    return int(data.joined(*map(torch.tensor, (1, 2, worded, change))))


def test_a_picture_is_asked_for_by_captions_of_its_class_and_mostly_in_its_style() -> None:
    data = captioned()
    rows = torch.arange(len(data)).repeat(500)
    conditions = data.conditions(rows, torch.Generator().manual_seed(0))
    captions = len(data.bank.text)
    caption, style, worded, change = data.told(conditions)
    own = (caption >= data.bank.first[data.labels[rows]]) & (caption < data.bank.first[data.labels[rows] + 1])
    assert (own | (caption == captions)).all()
    assert ((style == 0) | (style == data.style[rows] + 1)).all()
    assert float((caption == captions).float().mean()) == pytest.approx(NOTHING, abs=0.02)
    assert float((change == 0).float().mean()) == pytest.approx(PLAIN, abs=0.02)
    assert torch.equal(data.joined(caption, style, worded, change), conditions)
    for i, named in enumerate(data.named):
        told = style[data.style[rows] == i] > 0
        assert float(told.float().mean()) == pytest.approx(float(named), abs=0.03)
    assert float((worded == 1).float().mean()) == pytest.approx(HIDDEN, abs=0.02)
    assert float((worded > 1).float().mean()) == pytest.approx(FALSE, abs=0.02)
    assert set(worded.tolist()) == set(range(captions + 2))
    assert (
        len(caption[(rows == 0) & (caption < captions)].unique())
        == data.bank.first[data.labels[0] + 1] - data.bank.first[data.labels[0]]
    )


def test_a_withheld_caption_leaves_no_word() -> None:
    data = captioned()
    told, withheld = data.words(torch.tensor([own(data), DROPPED])), data.words(torch.tensor([DROPPED]))
    assert told.mask[0].any()
    for tensor in (told.mask[1], told.sentence[1], told.bag[1], told.style[1]):
        assert not tensor.any()
    assert not withheld.mask.any()
    nothing = data.joined(*map(torch.tensor, ([7], [2], [0], [5])))
    moved = data.words(nothing)  # how a picture is moved is told all the same
    assert moved.augment is not None
    assert moved.augment.any()
    for tensor in (moved.mask, moved.sentence, moved.style):
        assert not tensor.any()


def test_the_words_of_a_scene_are_true_and_it_is_no_concept() -> None:
    data = captioned()
    data = replace(data, scenes=2, bank=replace(data.bank, length=torch.tensor([1.0, 0.5])))
    rows = torch.arange(len(data)).repeat(50)
    _, _, worded, _ = data.told(data.conditions(rows, torch.Generator().manual_seed(0)))
    assert not worded[data.labels[rows] == 2].any()
    assert worded[data.labels[rows] == 1].any()
    net = PromptedUNet(side=16, widths=(16, 32, 32), blocks=(1, 1, 1), concepts=2)
    data.initialise_from_data(net)
    assert net.recall is not None
    assert torch.allclose(net.recall.keys[1], 0.5 * data.bank.sentence[2], atol=1e-6)


def test_a_caption_of_two_things_asks_for_both() -> None:
    data = captioned()
    things = data.bank.things.clone()
    things[1] = torch.tensor([4, 5])
    data = replace(data, bank=replace(data.bank, things=things))
    asked = data.words(torch.tensor([own(data), data.joined(*map(torch.tensor, (2, 0, 0, 0)))]))
    assert torch.equal(asked.sentence[0], data.bank.sentence[4:6])
    assert torch.equal(asked.tokens[0], data.bank.tokens[1])
    assert not asked.sentence[1, 1].any()


def test_an_epoch_shows_each_picture_as_often_as_its_share_says() -> None:
    share = torch.tensor([1.0, 0.5, 0.25, 2.0] * 3, dtype=torch.float64)
    data = replace(captioned(), share=share)
    assert data.per_epoch == 11
    seen = torch.stack(
        [torch.bincount(data.order(torch.Generator().manual_seed(seed)), minlength=12) for seed in range(400)]
    ).double()
    assert (seen.sum(1) == 11).all()
    assert torch.allclose(seen.mean(0), share * 11 / share.sum(), atol=0.12)
    assert (seen[:, share == 2] >= 1).all()


def test_a_caption_keeps_its_sentence_without_its_words_and_with_those_of_another() -> None:
    data = captioned()
    told, hidden, false = (data.words(torch.tensor([own(data, worded)])) for worded in (0, 1, 2 + 6))
    for words in (hidden, false):
        assert torch.equal(words.sentence[0, 0], data.bank.sentence[1])
        assert torch.equal(words.bag[0, 0], data.bank.bag[1])
        assert torch.equal(words.style, told.style)
    assert torch.equal(told.tokens[0], data.bank.tokens[1])
    assert torch.equal(told.mask[0], data.bank.mask[1])
    assert not hidden.mask.any()
    assert torch.equal(false.tokens[0], data.bank.tokens[6])
    assert torch.equal(false.mask[0], data.bank.mask[6])


def test_the_sentence_stays_heard_whatever_its_first_layer_is_driven_to() -> None:
    """Units that are far below zero for every sentence would be silent for ever."""
    net, (x, t), w = network(), state(3), words(3)
    net.sentence[0].weight *= 0.1
    net.sentence[0].bias -= 15.0
    other = replace(w, sentence=w.sentence.roll(1, 0))
    assert float((net(x, t, other) - net(x, t, w)).abs().max()) > 1e-3


def test_a_run_that_was_stopped_and_resumed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    run(PROMPTED, tmp_path / "straight", data=captioned())
    run(PROMPTED, tmp_path / "resumed", data=captioned(), max_steps=3)
    run(PROMPTED, tmp_path / "resumed", data=captioned(), resume=True)
    assert_same_bytes(newest(tmp_path / "straight"), newest(tmp_path / "resumed"))
    model, data = load_model(tmp_path / "straight" / "model"), captioned()
    assert isinstance(model.conditioner, TextConditioner)
    assert model.provenance["concepts"] == list(data.classes[: data.scenes])


def test_a_new_network_knows_the_mean_captions_before_it_learns(tmp_path: Path) -> None:
    data = captioned()
    run(PROMPTED, tmp_path, data=data, max_steps=1)
    for group in ("network", "ema"):
        begun = read_checkpoint(checkpoint_path(tmp_path / "checkpoints", 0)).groups[group]
        for name, said in (("recall.keys", data.bank.sentence), ("recall.bags", data.bank.bag)):
            for row, key in enumerate(begun[name]):
                mean = said[data.bank.first[row] : data.bank.first[row + 1]].mean(0)
                assert torch.allclose(key, mean / mean.norm(), atol=1e-6)
            assert torch.equal(newest(tmp_path)[f"{group}:{name}"], begun[name])


def test_other_captions_are_another_data_set() -> None:
    data = captioned()
    for what in ("sentence", "bag"):
        changed = replace(data, bank=replace(data.bank, **{what: getattr(data.bank, what).flip(0)}))
        assert changed.fingerprint != data.fingerprint
    assert data.first(5).style.tolist() == data.style[:5].tolist()


def test_a_run_starts_from_the_weights_of_a_model(tmp_path: Path) -> None:
    run(PROMPTED, tmp_path / "first", data=captioned(), max_steps=2)
    first = load_model(tmp_path / "first" / "model")
    run(PROMPTED, tmp_path / "second", data=captioned(), start_from=first, max_steps=1, seed=9)
    begun = read_checkpoint(checkpoint_path(tmp_path / "second" / "checkpoints", 0))
    for name, value in first.network.state_dict().items():
        assert torch.equal(begun.groups["network"][name], value)
        assert torch.equal(begun.groups["ema"][name], value)
    with pytest.raises(UsageError, match="prompted cannot start from toy: its network is another"):
        run(PROMPTED, tmp_path / "third", data=captioned(), start_from=model())
    assert not (tmp_path / "third").exists()


def begun(out: Path) -> dict[str, Tensor]:
    """The weights that a run began with."""
    return dict(read_checkpoint(checkpoint_path(out / "checkpoints", 0)).groups["network"])


def smaller(concepts: int) -> Preset:
    less = {"detail": 0, "augment": 0, "styles": ["a"], "concepts": concepts}
    return replace(PROMPTED, network_config={**PROMPTED.network_config, **less})


def test_a_run_starts_from_a_smaller_network_and_answers_as_it_did(tmp_path: Path) -> None:
    data = captioned()
    run(smaller(3), tmp_path / "small", data=replace(data, style=0 * data.style), max_steps=2)
    before = load_model(tmp_path / "small" / "model")
    large = replace(PROMPTED, network_config={**PROMPTED.network_config, "blocks": [2, 1, 2]})
    run(large, tmp_path / "large", data=data, start_from=before, max_steps=1)
    grown = PromptedUNet(**large.network_config)  # type: ignore[arg-type]
    grown.load_state_dict(
        read_checkpoint(checkpoint_path(tmp_path / "large" / "checkpoints", 0)).groups["network"]
    )
    (x, t), asked = state(2), replace(words(2), style=torch.tensor([0, 1]), augment=torch.randn(2, 10))
    assert torch.allclose(grown(x, t, asked), before.network(x, t, asked), atol=1e-5)
    with pytest.raises(UsageError, match="cannot start from"):
        run(smaller(3), tmp_path / "back", data=data, start_from=load_model(tmp_path / "large" / "model"))


def test_concepts_that_are_new_to_a_model_are_made_known_to_the_run_that_starts_from_it(
    tmp_path: Path,
) -> None:
    data = captioned()
    two = replace(data, scenes=2, style=0 * data.style, bank=replace(data.bank, length=torch.ones(2)))
    run(smaller(2), tmp_path / "small", data=two, max_steps=1)
    run(
        PROMPTED,
        tmp_path / "large",
        data=data,
        start_from=load_model(tmp_path / "small" / "model"),
        max_steps=1,
    )
    keys = read_checkpoint(checkpoint_path(tmp_path / "large" / "checkpoints", 0)).groups["network"][
        "recall.keys"
    ]
    mean = torch.nn.functional.normalize(data.bank.sentence[3:].mean(0), dim=0)
    assert torch.allclose(keys[2], mean, atol=1e-6)


# -- the emoji


def test_emoji_come_with_captions_of_their_own_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioned_module, "load_emoji", lambda cache: toy_emoji())
    data, (texts, counts) = captioned_emoji(cache=tmp_path, scenes=20), captions_of(toy_emoji())
    assert counts == [EACH] * data.scenes
    assert len(texts) == EACH * data.scenes == int(data.bank.first[data.scenes])
    assert len(data) == len(toy_emoji()) + 20
    assert float(data.share[-20:].sum() / data.share.sum()) == pytest.approx(0.25)
    for row, label in enumerate(data.classes[: data.scenes]):
        own = texts[row * EACH : (row + 1) * EACH]
        assert own[-1] == label
        assert not any(style in caption for caption in own for style in data.styles)
    for row in (0, EACH, len(texts) - 1):
        alone = load_text_encoder().encode([texts[row]])
        length, at = alone.mask.shape[1], int(data.bank.text[row])
        assert int(data.bank.mask[at].sum()) == length
        assert torch.allclose(data.bank.sentence[at], alone.sentence[0], atol=2e-3)  # kept in bfloat16
        assert torch.allclose(data.bank.bag[at], alone.bag[0], atol=4e-3)
        assert torch.allclose(data.bank.tokens[at, :length].float(), alone.tokens[0], atol=2e-2)
    for made_once in ("_encoded", "composed"):  # a second time nothing is
        monkeypatch.setattr(captioned_module, made_once, None)
    assert captioned_emoji(cache=tmp_path, scenes=20).fingerprint == data.fingerprint


# -- the weights that ship


def test_the_model_that_ships_hears_a_sentence_without_its_words() -> None:
    """It once did not, and no figure of its training showed that."""
    shipped = sf.load("emoji")
    assert isinstance(shipped.conditioner, TextConditioner)
    said = load_text_encoder().encode(["red apple", "blue heart", "green heart"])
    asked = Words(
        sentence=said.sentence[:, None],
        bag=said.bag[:, None],
        tokens=torch.zeros(3, 1, WORD),
        mask=torch.zeros(3, 1, dtype=torch.bool),
        style=torch.zeros(3, dtype=torch.int64),
    )
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1, -1)
    with torch.inference_mode():
        estimate = noise - shipped.network(noise, torch.ones(3), asked)  # of x0, at t = 1 of a flow
    colours = estimate[:, :, 24:40, 24:40].mean((2, 3))
    assert colours[0].argmax() == 0
    assert colours[1].argmax() == 2
    assert colours[2].argmax() == 1


@torch.no_grad()
def test_the_model_that_ships_recalls_every_concept_by_its_name() -> None:
    recall = sf.load("emoji").network.recall
    assert recall is not None
    labels = [concept.label for concept in load_emoji_judge().concepts]
    said = load_text_encoder().encode(labels)
    assert recall.shares(said.sentence, said.bag).argmax(1).tolist() == list(range(len(labels)))


def test_the_model_that_ships_understands_more_held_out_wordings_by_their_words() -> None:
    recall = sf.load("emoji").network.recall
    assert recall is not None
    wordings = held_out_wordings(load_emoji_judge().concepts)
    said = load_text_encoder().encode([w.text for w in wordings])

    def right(sentence: Tensor, bag: Tensor) -> float:
        found = zip(recall.shares(sentence, bag).argmax(1).tolist(), wordings, strict=True)
        return sum(concept in wording.accepted for concept, wording in found) / len(wordings)

    sentence, bag, nothing = said.sentence, said.bag, torch.zeros
    whole, by_word = right(sentence, nothing(bag.shape)), right(nothing(sentence.shape), bag)
    assert right(sentence, bag) > max(whole, by_word) + 0.05


def test_a_prompt_that_names_no_style_is_drawn_in_one_that_its_seed_chooses() -> None:
    how = {"schedule": Flow(), "prediction": "flow", "shape": (3, 16, 16), "name": "m"}
    defaults = SamplingDefaults(steps=2, guidance=2.0, styles=STYLES)
    model = build_model(network(), defaults=defaults, **how)
    plain = build_model(network(), defaults=replace(defaults, styles=()), **how)
    made = sf.sample(model, "a cat", seed=4, count=3)
    for i, style in enumerate(("noto", "flat", "noto")):
        named = sf.sample(plain, f"a cat, {style} style", seed=4 + i).x
        torch.testing.assert_close(made.x[i : i + 1], named, atol=1e-4, rtol=0)
    assert torch.equal(sf.run(made.recipe, model).x, made.x)
    assert torch.equal(sf.run(made.recipe, plain).x, made.x)  # the recipe says it all
    assert made.recipe.prompts() == ["a cat"]
    told = sf.sample(model, "a cat, flat style", seed=4)
    assert torch.equal(told.x, sf.sample(plain, "a cat, flat style", seed=4).x)


def test_a_prompt_with_styles_is_written_and_read() -> None:
    from sfumato.core.frame import read_condition

    styled = Prompt("a cat", STYLES)
    assert read_condition(styled.write()) == styled
    assert read_condition(Prompt("a cat").write()) == Prompt("a cat")
    assert styled.of(3) == Prompt("a cat, flat style")
    for wrong in ({"prompt": "a", "styles": "noto"}, {"prompt": "a", "styles": [1]}):
        with pytest.raises(UsageError):
            read_condition(wrong)

"""Fitting the classifier's probabilities to what a person saw, where the right answer is known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import calibrate_judge
from tools.calibrate_judge import BINS, Namings, agreement, fit, main, read_namings, reliability, write

from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.classifier import EmojiClassifier
from sfumato.evaluation.emoji import EmojiJudge, calibrated
from sfumato.models.files.store import read_description, write_folder
from sfumato.pictures import save_picture
from sfumato.training.emoji import Concept

CLASSES = 6  # five concepts and none
WORDS = ("owl", "skull", "rocket", "apple", "tulip")


def answered(count: int, temperature: float, bias: float, *, seed: int = 0) -> Namings:
    """A person who answers as often yes as the calibrated probabilities of some logits say."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(count, CLASSES, generator=generator, dtype=torch.float64)
    asked = torch.randint(0, CLASSES - 1, (count,), generator=generator)
    seen_class = torch.multinomial(calibrated(logits, temperature, bias).exp(), 1, generator=generator)[:, 0]
    meant = torch.zeros(count, CLASSES, dtype=torch.bool)
    meant[torch.arange(count), asked] = True
    return Namings(logits=logits, meant=meant, seen=seen_class == asked)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.5, 3.0), (0.5, -2.0)])
def test_a_known_temperature_and_bias_are_found(temperature: float, bias: float) -> None:
    namings = answered(6000, temperature, bias)
    found = fit(namings)
    assert found[0] == pytest.approx(temperature, rel=0.12)
    assert found[1] == pytest.approx(bias, abs=0.5)
    assert namings.log_likelihood(*found) >= namings.log_likelihood(temperature, bias)
    for nearby in ((found[0] * 1.1, found[1]), (found[0], found[1] + 0.3)):
        assert namings.log_likelihood(*found) > namings.log_likelihood(*nearby)


def test_what_was_calibrated_is_right_as_often_as_it_says() -> None:
    namings = answered(6000, 2.5, 3.0)
    found = reliability(namings.probability(*fit(namings)), answered(6000, 2.5, 3.0).seen)
    assert all(abs(one.stated - one.seen) < 0.08 for one in found if one.count > 100)
    unfitted = reliability(namings.probability(1, 0), namings.seen)
    assert max(abs(one.stated - one.seen) for one in unfitted if one.count > 100) > 0.15


def test_a_classifier_without_none_has_no_bias_of_it() -> None:
    namings = answered(2000, 2.0, 0.0)
    namings.logits[:, -1] = -1e4
    assert fit(namings)[1] == 0


@pytest.mark.parametrize("answer", [True, False])
def test_answers_that_are_all_the_same_are_refused(answer: bool) -> None:
    namings = answered(20, 1, 0)
    namings.seen[:] = answer
    with pytest.raises(UsageError, match="same"):
        fit(namings)


def test_answers_that_the_classifier_foresees_without_fault_are_refused() -> None:
    """The sharper, the likelier: there is no best temperature."""
    namings = answered(50, 1, 0)
    best = namings.logits.argmax(1)
    namings.seen[:] = namings.meant[torch.arange(50), best]
    with pytest.raises(UsageError, match="temperature"):
        fit(namings)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_bins_hold_every_naming_once(rows: list[tuple[float, bool]]) -> None:
    stated = torch.tensor([p for p, _ in rows], dtype=torch.float64)
    seen = torch.tensor([s for _, s in rows])
    found = reliability(stated, seen)
    assert sum(one.count for one in found) == len(rows)
    assert sum(one.stated * one.count for one in found) == pytest.approx(float(stated.sum()))
    assert sum(one.seen * one.count for one in found) == pytest.approx(float(seen.sum()))
    assert all(one.low - 1e-9 <= one.stated <= one.high + 1e-9 for one in found)
    assert len(found) <= BINS
    right = sum((p >= 0.5) == s for p, s in rows)
    assert agreement(stated, seen) == pytest.approx(right / len(rows))


# -- the file


@pytest.fixture
def judge() -> EmojiJudge:
    torch.manual_seed(0)
    return EmojiJudge(
        classifier=EmojiClassifier(CLASSES).eval(),
        concepts=tuple(
            Concept(label=word, keywords=("thing",), group="objects", subgroup="tools", hexcode="")
            for word in WORDS
        ),
        styles=("plain",),
        features=torch.zeros(1, 128),
        concept=torch.zeros(1).long(),
        style=torch.zeros(1).long(),
        accuracy={},
    )


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a file of namings beside two pictures."""
    for name, size in (("a", 64), ("b", 128), ("small", 32)):
        noise = torch.rand(3, size, size, generator=torch.Generator().manual_seed(size)) * 2 - 1
        save_picture(noise, tmp_path / f"{name}.png")

    def write(text: str) -> Path:
        path = tmp_path / "namings.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_line_is_a_picture_a_prompt_and_an_answer(judge: EmojiJudge, file: Callable[[str], Path]) -> None:
    found = read_namings(file('a.png, owl, yes\n\nb.png,"a skull",NO\na.png, thing, no\n'), judge)
    assert found.seen.tolist() == [True, False, False]
    assert found.meant.int().tolist() == [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]]
    assert torch.equal(found.logits[0], found.logits[2])
    assert not torch.equal(found.logits[0], found.logits[1])
    likely = found.probability(1.0, 0.0)
    torch.testing.assert_close(likely[2], 1 - found.logits[2].softmax(0)[-1])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "namings.csv"),
        ("a.png, owl, yes\na.png, owl\n", "line 2"),
        ("a.png, owl, perhaps\n", "perhaps"),
        ("a.png, , yes\n", "line 1"),
        ("a.png, owl, yes, no\n", "line 1"),
        ("nowhere.png, owl, yes\n", "nowhere"),
        ("small.png, owl, yes\n", "line 1"),
    ],
)
def test_bad_files_are_refused(judge: EmojiJudge, file: Callable[[str], Path], text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        read_namings(file(text), judge)


def test_a_file_that_is_not_there(judge: EmojiJudge, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read_namings(tmp_path / "nowhere.csv", judge)


def folder_of_weights(tmp_path: Path, description: dict[str, object]) -> Path:
    folder = tmp_path / "weights"
    write_folder(folder, {"name": "emoji-classifier", **description}, {"weight": torch.zeros(1)})
    return folder


def test_it_prints_and_writes_only_on_request(
    judge: EmojiJudge,
    file: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    namings = answered(500, 2.5, 1.0)
    monkeypatch.setattr(calibrate_judge, "read_emoji_judge", lambda _: judge)
    monkeypatch.setattr(calibrate_judge, "read_namings", lambda *_: namings)
    folder = folder_of_weights(tmp_path, {"format": 2, "temperature": 1.0, "none_bias": 0.0})
    before = read_description(folder)
    main(file(""), folder, False)
    assert read_description(folder) == before
    main(file(""), folder, True)
    after = read_description(folder)
    temperature, bias = fit(namings)
    assert after["temperature"] == pytest.approx(temperature, abs=1e-3)
    assert after["none_bias"] == pytest.approx(bias, abs=1e-3)
    assert after["calibration"]["namings"] == 500
    assert after["weights"] == before["weights"]
    out = capsys.readouterr().out
    assert f"{temperature:.3f}" in out
    assert "500 namings" in out


def test_weights_of_an_earlier_format_take_no_calibration(tmp_path: Path) -> None:
    folder = folder_of_weights(tmp_path, {"format": 1})
    with pytest.raises(SfumatoError, match="weights"):
        write(folder, 2.0, 1.0, [], 1.0)

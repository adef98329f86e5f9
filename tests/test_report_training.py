"""The whole report trains its Part B: a tiny preset in the place of the real one, on the tests' digits."""

import signal
from pathlib import Path

import pytest

import tiny
from sfumato.apps.cli import main
from sfumato.apps.report.page import Drawing, Row, Section
from sfumato.core.schedule import FixedSigma
from sfumato.pictures import read_picture, to_uint8
from sfumato.training.checkpoint import complete_checkpoints
from sfumato.training.history import read_history
from sfumato.training.loop import Progress
from sfumato.training.objective import ErrorOf, FixedTime, Objective
from sfumato.training.presets import PRESETS, LearningRate, Preset

SMALL = Preset(
    name="digits-denoise",
    summary="a denoiser of four channels",
    network="classic",
    network_config={"hidden": 4, "timed": False},
    conditional=False,
    objective=Objective(
        schedule=FixedSigma(1.0),
        prediction="x0",
        times=FixedTime(t=1.0),
        weighting=ErrorOf(quantity="x0"),
    ),
    batch=20,
    epochs=5,
    learning_rate=LearningRate(peak=1e-3),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "digits-denoise", SMALL)
    for module in ("datasets", "loop"):
        monkeypatch.setattr(
            f"sfumato.training.{module}.load_dataset", lambda *_, **__: tiny.digits().first(100)
        )


def made(out: Path) -> Section:
    return Section.model_validate_json((out / "sections" / "b1.json").read_bytes())


def shows_the_training(section: Section, out: Path) -> None:
    assert section.status == "done", section.error
    curve = next(b for b in section.blocks if isinstance(b, Drawing) and 'class="curve"' in b.svg)
    assert "25 steps of 20" in curve.note
    assert "epoch 5" in curve.svg
    sheets = [b for b in section.blocks if isinstance(b, Row) and b.wide]
    assert [b.title for b in sheets] == ["After the first epoch", "After epoch 5"]
    for sheet in sheets:
        pixels = to_uint8(read_picture(out / "pictures" / sheet.pictures[0].file))
        assert pixels.float().std() > 1


@pytest.mark.usefixtures("small")
def test_it_trains_and_shows_the_training(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["report", "--model", "digits", "--section", "b1", "--out", str(out)]) == 0
    shows_the_training(made(out), out)
    assert (out / "runs" / "digits-denoise" / "model" / "model.json").is_file()


@pytest.mark.usefixtures("small")
def test_a_signal_while_it_trains_fails_no_section_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["report", "--model", "digits", "--section", "b1", "--out", str(out)]

    class Interrupted(Progress):
        def __init__(self, **facts: object) -> None:
            super().__init__(**facts)  # type: ignore[arg-type]
            if self.step == 7:
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as first:
        first.setattr("sfumato.training.loop.Progress", Interrupted)
        assert main(words) == 128 + signal.SIGINT
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by SIGINT"
    run = out / "runs" / "digits-denoise"
    assert complete_checkpoints(run / "checkpoints")[-1].name == "step-00000008"
    assert not (out / "sections" / "b1.json").exists()
    assert 'id="sb1" data-status="waiting"' in (out / "index.html").read_text()

    assert main(words) == 0
    assert [entry.step for entry in read_history(run)] == list(range(1, 26))
    shows_the_training(made(out), out)


@pytest.mark.usefixtures("small")
def test_a_training_that_is_done_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["report", "--model", "digits", "--section", "b1", "--out", str(out)]
    assert main(words) == 0
    before = (out / "runs" / "digits-denoise" / "history.jsonl").read_bytes()
    (out / "sections" / "b1.json").unlink()
    monkeypatch.setattr("sfumato.training.loop._Trainer._step", None)  # a step would fail
    assert main(words) == 0
    assert (out / "runs" / "digits-denoise" / "history.jsonl").read_bytes() == before
    shows_the_training(made(out), out)


@pytest.mark.usefixtures("small")
def test_arithmetic_that_cannot_train_is_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", "--section", "b1", "--dtype", "float16", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "float16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

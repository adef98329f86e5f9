"""The small record of a training: nothing of the curve is left out, and what is damaged is refused."""

import statistics
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tools
import torch
from tools.record_training import main, write_record

import tiny
from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures import save_picture
from sfumato.training.history import TrainingStep, read_history
from sfumato.training.loss_curve import draw_loss_curve
from sfumato.training.record import FILE, Record, read_record, record_of, sheet_name, thinned


def entries(count: int) -> list[TrainingStep]:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(count, generator=generator).tolist()
    return [
        TrainingStep(step=i + 1, loss=loss, learning_rate=1e-3, gradient_norm=1.0)
        for i, loss in enumerate(losses)
    ]


@pytest.mark.parametrize("count", [1, 7, 300, 301, 1000])
def test_a_thinned_curve_holds_every_step(count: int) -> None:
    whole = entries(count)
    points = thinned(whole)
    assert len(points) == min(count, 300)
    assert points[-1].step == count
    starts = [0, *(p.step for p in points)]
    for start, point in zip(starts, points, strict=False):
        losses = [entry.loss for entry in whole[start : point.step]]
        assert losses
        assert point.mean == pytest.approx(statistics.fmean(losses))
        assert (point.low, point.high) == (min(losses), max(losses))
    lengths = [b - a for a, b in pairwise(starts)]
    assert max(lengths) - min(lengths) <= 1


def test_an_empty_curve_is_refused() -> None:
    with pytest.raises(UsageError, match="step"):
        thinned([])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two epochs of five steps, with a sheet after the second."""
    folder = tmp_path_factory.mktemp("runs") / "normed"
    tiny.run(tiny.NORMED, folder)
    (folder / "samples").mkdir()
    save_picture(torch.zeros((1, 8, 8)), folder / "samples" / sheet_name(2))
    return folder


def test_a_record_round_trips_through_a_folder(run: Path, tmp_path: Path) -> None:
    record = record_of(run, "normed", [1, 2], per_epoch=5)
    assert record.steps == 10
    assert record.sheets == (2,)
    assert [p.mean for p in record.curve] == [entry.loss for entry in read_history(run)]
    written = write_record(record, run, tmp_path)
    assert {path.name for path in written} == {FILE, "epoch-002.png"}
    assert read_record(tmp_path) == record
    assert read_record(tmp_path / "nowhere") is None


def test_the_tool_writes_the_record_and_the_sheets(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(run, tmp_path, epoch=[2], per_epoch=5)
    assert capsys.readouterr().out.split() == [str(tmp_path / "epoch-002.png"), str(tmp_path / FILE)]
    found = read_record(tmp_path)
    assert found is not None
    assert found.preset == "normed"


def test_a_tool_that_fails_ends_with_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["record_training", str(run), str(tmp_path), "--epoch", "7"])
    with pytest.raises(SystemExit) as end:
        tools.run(main)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --epoch 7: ")
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="history"):
        record_of(tmp_path, "normed", [1])
    (tmp_path / FILE).write_text('{"version": 1')
    with pytest.raises(SfumatoError, match=FILE):
        read_record(tmp_path)


@pytest.mark.parametrize("losses", [[0.4, 0.1, 0.2], [0.3, 0.3], [0.0, 0.0], [7.0]])
def test_a_higher_loss_stands_higher_in_the_curve(losses: list[float]) -> None:
    steps = [
        TrainingStep(step=i + 1, loss=loss, learning_rate=1e-3, gradient_norm=1.0)
        for i, loss in enumerate(losses)
    ]
    record = Record(preset="<mine>", steps=len(steps), curve=thinned(steps))
    svg = ElementTree.fromstring(draw_loss_curve(record))
    assert "<mine>" in svg.attrib["aria-label"]
    path = next(element.attrib["d"] for element in svg if element.get("class") == "mean")
    heights = [-float(point.split()[1]) for point in path.removeprefix("M").split("L")]
    assert sorted(range(len(losses)), key=heights.__getitem__) == sorted(
        range(len(losses)), key=losses.__getitem__
    )

"""The benchmark at toy size: both sides make the same picture, and every table is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench import folders, pipelines, rows
from bench.__main__ import main
from bench.timing import Work, in_turn, peak_memory

import sfumato as sf

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


def networks(root: Path) -> dict[str, folders.Network]:
    return {
        "cifar": folders.cifar(root / "cifar", toy=True),
        "deepfloyd": folders.deepfloyd(root / "deepfloyd", "toy"),
    }


@pytest.mark.parametrize("name", ["cifar", "deepfloyd"])
def test_both_sides_make_the_same_picture(tmp_path: Path, name: str) -> None:
    network = networks(tmp_path)[name]
    made = {}
    for side in (pipelines.INSTALLED, pipelines.OURS_EXACT, pipelines.SAME, pipelines.OURS):
        how = pipelines.sides(torch.float32, compile=False)[side]
        x = pipelines.work_of(how, network, 2, "cpu")()
        assert isinstance(x, torch.Tensor)
        made[side] = x if how.ours else _signed(x, name)
    for x in made.values():
        assert float(x.std()) > 0.05
        torch.testing.assert_close(x, made[pipelines.INSTALLED], rtol=0, atol=2e-2)


def _signed(images: torch.Tensor, name: str) -> torch.Tensor:
    """A pipeline's pictures in [-1, 1]: IF's come so, DDPM's in [0, 1] with the colours last."""
    if name == "deepfloyd":
        return images.clamp(-1, 1)
    return images * 2 - 1


def test_works_run_in_turn_and_the_first_round_is_not_counted() -> None:
    ran: list[str] = []
    times = in_turn({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 3, CPU)
    assert ran == ["a", "b"] * 4
    assert set(times) == {"a", "b"}
    assert all(0 < seconds < 1 for seconds in times.values())


def hoard(megabytes: int) -> Work:
    """A work that holds so much memory."""
    return lambda: bytearray(b"x" * (megabytes * 1_000_000))


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own() -> None:
    here = bytearray(b"x" * 600_000_000)  # none of which is the other process's
    little, much = peak_memory(hoard, 1), peak_memory(hoard, 300)
    assert 250 < much - little < 700  # the bytes and their copy
    assert little < len(here) / 1e6


def test_branch_by_branch_is_the_same_picture() -> None:
    model = sf.load("digits")
    e = sf.anagram("6", "9", view="rotate_180").guided(3)
    together = sf.sample(model, e, seed=1, count=2, steps=3).x
    apart = sf.sample(rows.BranchByBranch(model, 2), e, seed=1, count=2, steps=3).x  # type: ignore[arg-type]
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_every_table_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pipelines, "peak_memory", lambda make, *args: 0.0)  # of processes, tested above
    main(["--size", "toy", "--device", "cpu", "--repeats", "1", *(f"--part={part}" for part in _PARTS)])
    out = capsys.readouterr().out
    for what in (*pipelines.sides(torch.float32, compile=False), "guided hybrid", "IF-I-TOY", "UNet2DModel"):
        assert what in out


_PARTS = ("pipelines", "memory", "rows", "throughput")

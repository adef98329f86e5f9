"""Pictures that version 0.1.0 made (tests/data/replay) are made again from the recipes inside them.

On another processor sums come in another order: one grey level is allowed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_pipelines as tiny
from sfumato.apps.cli import main
from sfumato.models.files.registry import load
from sfumato.pictures import read_metadata

DATA = Path(__file__).parent / "data" / "replay"


@pytest.mark.parametrize("name", ["digits", "inpainting"])
def test_a_picture_of_digits_is_made_again(name: str) -> None:
    assert main(["replay", str(DATA / f"{name}.png")]) == 0


def test_a_picture_of_emoji_is_made_again_by_the_weights_that_made_it() -> None:
    metadata = read_metadata(DATA / "emoji.png")
    assert metadata is not None
    same = load("emoji").sha256 == metadata["recipe"]["weights"]
    assert main(["replay", str(DATA / "emoji.png")]) == (0 if same else 1)


def test_a_picture_of_a_cascade_is_made_again(tmp_path: Path) -> None:
    first = tiny.deepfloyd(tmp_path / "stage1", size=16)
    second = tiny.deepfloyd(tmp_path / "stage2", size=32, upscales=True)
    words = ["replay", str(DATA / "cascade.png"), "--model", str(first), "--stage", str(second)]
    assert main(words) == 0

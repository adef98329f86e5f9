"""The bench of the server under load, short: everyone is answered, nobody gets another's picture."""

import sys
from pathlib import Path

import pytest

from commands import write_models

sys.path.append(str(Path(__file__).parent.parent / "bench"))

import load

pytestmark = pytest.mark.slow


def test_everyone_is_answered_and_nobody_gets_anothers_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_models(tmp_path / "models") / "digits"
    words = ["--model", str(model), "--clients", "12", "--seconds", "8", "--queue", "24", "--max-rows", "8"]
    figures = load.main(words)
    assert figures["not their own"] == 0
    assert figures["longest queue"] <= figures["bound of the queue"]
    assert figures["pictures a minute, all clients"] > 0
    said = capsys.readouterr().out
    assert "answered: " in said

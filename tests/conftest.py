"""Settings of the whole suite, and the command line in one process."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from commands import Run, write_models
from sfumato.apps.cli import main

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

# Sums in another number of threads differ in their last bits, and tests compare bytes across processes.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small models that `write_models` makes."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run `sfumato` in an empty folder: -> exit code, stdout, stderr. "MODEL" stands for the digits model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args: object) -> tuple[int, str, str]:
        code = main([str(models / "digits") if arg == "MODEL" else str(arg) for arg in args])
        return code, *capsys.readouterr()

    return run

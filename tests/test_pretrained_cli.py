"""Pretrained models on the command line: cascades, encoded prompts, exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_pipelines as tiny
from sfumato.apps.cli import main
from sfumato.pictures import read_metadata, read_picture

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Stages I, II and III: 16, 32 and 64 pixels."""
    root = tmp_path_factory.mktemp("deepfloyd")
    return [
        tiny.deepfloyd(root / "one"),
        tiny.deepfloyd(root / "two", size=32, upscales=True),
        tiny.deepfloyd(root / "three", size=64, upscales=True),
    ]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `sfumato` in an empty folder: -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path.parent / "cache"))

    def run(*args: object) -> tuple[int, str, str]:
        return main(list(map(str, args))), *capsys.readouterr()

    return run


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


def through(stages: list[Path]) -> list[object]:
    """The options of a cascade of these folders, two steps each."""
    larger = [word for stage in stages[1:] for word in ("--stage", stage, "--stage-steps", 2)]
    return ["--model", stages[0], "--steps", 2, "--seed", 7, *larger]


# -- cascades


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "a cat", "--count", 3, "--max-rows", 2, "--grid", "--out", "out.png"],
        ["anagram", "a cat", "a dog", "--view", "rotate_cw", "--stage-guidance", 2, "--stage-noise", 0.1],
        ["hybrid", "--far", "a cat", "--near", "a dog", "--upscale", 64],
        ["compose", "a cat", "a dog"],
    ],
)
def test_what_a_cascade_makes_can_be_made_again(run: Run, stages: list[Path], words: list[object]) -> None:
    code, out, err = run(*words, *through(stages))
    assert code == 0, err
    (made,) = out.split()
    metadata = read_metadata(Path(made))
    assert metadata is not None
    assert [stage["size"] for stage in metadata["recipe"]["stages"]] == [[32, 32], [64, 64]]
    code, out, _ = run("replay", made)
    assert (code, "the pixels agree exactly" in out) == (0, True)


def test_a_recipe_file_of_a_cascade_runs_with_its_folders_elsewhere(
    run: Run, stages: list[Path], tmp_path: Path
) -> None:
    run("generate", "a cat", *through(stages[:2]), "--recipe-out", "r.yaml")
    text = Path("r.yaml").read_text()
    Path("moved.yaml").write_text(text.replace(str(stages[0].parent), str(tmp_path / "elsewhere")))
    code, _, err = run("run", "moved.yaml")
    assert (code, err.startswith("error: no model")) == (3, True)
    code, _, err = run("run", "moved.yaml", "--model", stages[0], "--stage", stages[1], "--stage", stages[2])
    assert (code, "2 --stage for 1 further stages" in err) == (2, True)
    code, _, err = run("run", "moved.yaml", "--model", stages[0], "--stage", stages[1], "--out", "again.png")
    assert code == 0, err
    assert read_picture(Path("generate.png")).equal(read_picture(Path("again.png")))
    code, _, err = run("run", "r.yaml", "--model", stages[0], "--stage", stages[2], "--out", "other.png")
    assert (code, "makes 64 x 64 pictures, not 32 x 32" in err) == (2, True)
    assert not Path("other.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--upscale", 48], "makes 16, 32, 64 pixels, not 48"),
        (["--stage-steps", 1], "3 settings for 2 stages"),
        (["--stage-noise", 2], "2.0 is not above 0 and at most 1"),
        (["--stage-guidance", "nan"], "not a finite number"),
        (["--animate", "x.gif"], "--animate shows pictures of one size"),
        (["--stage", "digits"], "digits makes pictures of its own"),
    ],
)
def test_bad_cascades_are_refused_before_anything_is_written(
    run: Run, stages: list[Path], words: list[object], message: str
) -> None:
    code, _, err = run("generate", "a cat", *through(stages), *words)
    assert (code, files()) == (2, set())
    assert message in err
    assert err.count("\n") == 1


def test_upscaling_without_stages_is_refused(run: Run, stages: list[Path]) -> None:
    for words, message in (
        (["--upscale", 32], "no stages were published for"),
        (["--stage-steps", 3], "need --upscale or --stage"),
    ):
        code, _, err = run("generate", "a cat", "--model", stages[0], *words)
        assert (code, message in err) == (2, True), err

"""Pretrained models on the command line: cascades, encoded prompts, exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import MagicMock

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError

import tiny_pipelines as tiny
from commands import Run, files
from sfumato.pictures import read_metadata, read_picture, save_picture


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
def run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same with a cache that the tests share."""
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path.parent / "cache"))
    return run


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
    run("generate", "a cat", *through(stages[:2]), "--recipe-out", "r.yaml", "--out", "generate.png")
    text = Path("r.yaml").read_text()
    Path("moved.yaml").write_text(text.replace(str(stages[0].parent), str(tmp_path / "elsewhere")))
    code, _, err = run("run", "moved.yaml")
    assert (code, str(tmp_path / "elsewhere") in err) == (3, True)
    code, _, err = run("run", "moved.yaml", "--model", stages[0], "--stage", stages[1], "--stage", stages[2])
    assert (code, "--stage" in err) == (2, True)
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


# -- a picture made larger


def small(side: int, name: str = "small.png") -> str:
    save_picture(torch.linspace(-1, 1, 3 * side * side).reshape(3, side, side), Path(name))
    return name


def test_a_picture_is_made_larger_and_again(run: Run, stages: list[Path]) -> None:
    words = ["upscale", small(16), "a cat", "--model", stages[1], "--steps", 2, "--seed", 7, "--enlarge", 1]
    code, out, err = run(*words)
    assert (code, out) == (0, "cat-7.png\n"), err
    made = read_picture(Path("cat-7.png"))
    assert made.shape[-2:] == (32, 32)
    metadata = read_metadata(Path("cat-7.png"))
    assert metadata is not None
    own = metadata["recipe"]["low_t"]
    code, out, _ = run("replay", "cat-7.png")
    assert (code, "the pixels agree exactly" in out) == (0, True)
    assert run(*words, "--noise", 0.9, "--out", "noised.png")[0] == 0
    metadata = read_metadata(Path("noised.png"))
    assert metadata is not None
    assert metadata["recipe"]["low_t"] == 0.9 != own
    assert not read_picture(Path("noised.png")).equal(made)


@pytest.mark.parametrize(
    ("how", "words", "message"),
    [
        ((0, 16), [], "makes pictures of its own, it does not make them larger"),
        ((1, 16), ["--noise", 0], "0.0 is not above 0 and at most 1"),
        ((1, 16), ["--stage-steps", 2], "need --upscale or --stage"),
        ((1, 32), [], "the picture has 32 x 32 pixels and"),
    ],
)
def test_bad_upscaling_is_refused(
    run: Run, stages: list[Path], how: tuple[int, int], words: list[object], message: str
) -> None:
    model, side = how
    code, out, err = run("upscale", small(side), "a cat", "--model", stages[model], *words)
    assert (code, out, files()) == (2, "", {"small.png"}), err
    assert message in err
    assert err.count("\n") == 1


# -- latents


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("latent"))


@pytest.mark.parametrize(
    "words",
    [
        ["anagram", "a cat", "a dog", "--in-pixels"],
        ["inpaint", "photo.png", "a cat", "--mask", "mask.png", "--enlarge", "1"],
        ["translate", "photo.png", "a cat"],
    ],
)
def test_what_a_latent_model_makes_can_be_made_again(run: Run, latent: Path, words: list[str]) -> None:
    photo = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.full((1, 16, 16), -1.0)
    mask[:, 5:, :9] = 1
    save_picture(photo, "photo.png")
    save_picture(mask, "mask.png")
    code, _, err = run(*words, "--model", latent, "--steps", 2, "--seed", 7, "--out", "out.png")
    assert code == 0, err
    assert "the pixels agree exactly" in run("replay", "out.png")[1]
    if words[0] == "inpaint":
        made, given = read_picture(Path("out.png")), read_picture(Path("photo.png"))
        assert torch.equal(made.where(mask < 0, 0 * made), given.where(mask < 0, 0 * given))
        assert not torch.equal(made, given)


def test_pixels_are_refused_on_latents_unless_asked_for(run: Run, latent: Path) -> None:
    code, _, err = run("hybrid", "--far", "a", "--near", "b", "--model", latent)
    assert (code, "ask for --in-pixels" in err, files()) == (2, True, set())
    code, _, err = run("hybrid", "--far", 3, "--near", 8, "--in-pixels")
    assert (code, "emoji works on pixels already" in err, files()) == (2, True, set())


# -- encoded prompts


def bare(folder: Path, to: Path) -> Path:
    """The folder without its text encoder."""
    shutil.copytree(folder, to)
    shutil.rmtree(to / "text_encoder")
    return to


def test_prompts_are_encoded_here_and_drawn_there(
    run: Run, stages: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("anagram", "a cat", "a dog", *through(stages[:2]), "--out", "here.png")
    Path("prompts.txt").write_text("a cat\n\n a dog \n", encoding="utf-8")
    code, out, err = run("encode", "prompts.txt", "-m", stages[0], "-o", "prompts.safetensors")
    assert (code, out.strip()) == (0, "prompts.safetensors")
    assert "2 prompts" in err

    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "empty"))
    there = [bare(folder, tmp_path / f"stage{i}") for i, folder in enumerate(stages[:2])]
    words = ["anagram", "a cat", "a dog", *through(there), "--out", "there.png"]
    code, _, err = run(*words)
    assert (code, "no text encoder and no embedding of" in err) == (3, True)
    code, _, err = run(*words, "--embeddings", "prompts.safetensors")
    assert code == 0, err
    assert read_picture(Path("here.png")).equal(read_picture(Path("there.png")))
    code, out, _ = run("replay", "there.png", "--embeddings", "prompts.safetensors")
    assert (code, "agree exactly" in out) == (0, True)
    code, _, err = run("generate", "a bird", *through(there), "--embeddings", "prompts.safetensors")
    assert (code, "no embedding of 'a bird'" in err) == (3, True)


@pytest.mark.parametrize(
    ("words", "content", "expected"),
    [
        (["encode", "nowhere.txt"], b"", (2, "cannot read the prompts of nowhere.txt")),
        (["encode", "in.txt"], b"\xff\xfe\x00a", (2, "no text in UTF-8")),
        (["encode", "in.txt"], b"\n \n", (2, "holds 0 prompts")),
        (["encode", "in.txt"], b"a\n" * 10_001, (2, "holds 10,001 prompts")),
        (["encode", "in.txt"], b"a" * 1_000_001, (2, "more than 1,000,000 bytes")),
        (["encode", "in.txt", "--out", "x.pt"], b"a", (2, ".safetensors")),
        (["encode", "in.txt", "--out", "no/x.safetensors"], b"a", (1, "there is no folder")),
        (["encode", "in.txt", "--model", "digits"], b"a", (2, "digits takes no encoded prompts")),
        (["encode", "in.txt", "--model", "nowhere"], b"a", (3, "no model 'nowhere'")),
        (["generate", "7", "--embeddings", "in.txt"], b"a", (2, "emoji takes no encoded prompts")),
        (
            ["generate", "a", "--model", "MODEL", "--embeddings", "in.txt"],
            b"a",
            (2, "cannot be read as embed"),
        ),
    ],
)
def test_bad_prompts_and_embeddings_are_one_line(
    run: Run, stages: list[Path], words: list[str], content: bytes, expected: tuple[int, str]
) -> None:
    Path("in.txt").write_bytes(content)
    if words[0] == "encode" and "--model" not in words:
        words = [*words, "--model", "MODEL"]
    got, _, err = run(*(stages[0] if word == "MODEL" else word for word in words))
    assert (got, err.count("\n"), files()) == (expected[0], 1, {"in.txt"}), err
    assert expected[1] in err


# -- exit codes


DAMAGE = {
    "model_index.json": (b'{"_class_name": "FluxPipeline"}', "sfumato loads"),
    "unet/config.json": (b'{"auto_map": {"AutoModel": "evil.py"}}', "never run"),
    "scheduler/scheduler_config.json": (b'{"num_train_timesteps": 1e9}', "is absurd"),
    "unet/diffusion_pytorch_model.safetensors": (b"\xff" * 100, "its header would have"),
}


@pytest.mark.parametrize("file", DAMAGE)
def test_a_hostile_folder_is_one_line_and_exit_code_1(
    run: Run, stages: list[Path], tmp_path_factory: pytest.TempPathFactory, file: str
) -> None:
    content, message = DAMAGE[file]
    folder = shutil.copytree(stages[0], tmp_path_factory.mktemp("damaged") / "model")
    (folder / file).write_bytes(content)
    code, out, err = run("generate", "a cat", "--model", folder)
    assert (code, out, err.count("\n"), files()) == (1, "", 1, set()), err
    assert err.startswith("error: ")
    assert message in err


def test_a_gated_model_says_where_its_licence_is_and_how_to_log_in(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = MagicMock(
        side_effect=GatedRepoError("403 Client Error\n\nAccess is restricted", response=MagicMock())
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    code, out, err = run("generate", "a cat", "--model", "deepfloyd-m")
    assert (code, out, err.count("\n"), files()) == (3, "", 1, set())
    assert "gated: accept its licence at" in err
    assert "DeepFloyd/IF-I-M-v1.0" in err
    assert "`hf auth login`" in err
    assert gated.call_args.kwargs["local_files_only"] is False
    code, _, err = run("generate", "a cat", "--model", "deepfloyd-m", "--offline")
    assert gated.call_args.kwargs["local_files_only"] is True
    assert code == 3

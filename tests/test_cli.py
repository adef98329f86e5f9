"""The command line in one process: what it writes, what it refuses, and with which exit code."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
import yaml
from PIL import Image

import tiny
from commands import Run, files
from sfumato.apps.cli import app, names
from sfumato.apps.report.chapters import DEMO
from sfumato.core.path import MAX_STEPS, PATHS
from sfumato.core.solvers import SOLVERS
from sfumato.core.views import VIEWS
from sfumato.cost import MAX_ROWS
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.registry import HUB, MODELS
from sfumato.models.runtime.placement import COMPILES, OFFLOADS
from sfumato.pictures import read_metadata, read_picture, save_picture
from sfumato.pictures.grid import MAX_ENLARGE
from sfumato.pictures.read import MAX_SIDE
from sfumato.training.presets import PRESETS

TO = ("--out", "generate.png", "--enlarge", "1")


# -- names and help


def test_names_repeat_the_tables_they_stand_for() -> None:
    assert tuple(VIEWS) == names.VIEWS
    assert tuple(SOLVERS) == names.SOLVERS
    assert PATHS == names.SPACINGS
    assert tuple(PRESETS) == names.PRESETS
    assert (names.COMPILES, names.OFFLOADS) == (COMPILES, OFFLOADS)
    assert (names.MAX_STEPS, names.MAX_ENLARGE, names.MAX_SIDE) == (MAX_STEPS, MAX_ENLARGE, MAX_SIDE)
    assert names.JOB_ROWS == MAX_ROWS
    assert names.complete_models("digits-") == [name for name in MODELS if name.startswith("digits-")]


COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_a_line_for_every_option(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert (code, f"Example: sfumato {command}" in out) == (0, True)
    for parameter in COMMANDS[command].params:
        assert parameter.help, parameter.name
        assert parameter.help[0].isupper(), parameter.help
        assert parameter.help[-1] in ".)", parameter.help
    assert "bool" not in out


def test_the_views_are_listed_in_help(run: Run) -> None:
    _, out, _ = run("anagram", "--help")
    for view in VIEWS:
        assert view in out


def test_version_and_no_arguments(run: Run) -> None:
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "sfumato")
    assert run()[0] == 2


# -- making pictures, and making them again


@pytest.mark.parametrize(
    "args",
    [
        ["generate", "7"],
        ["generate", "seven", "--out", "x.webp", "--enlarge", "3"],
        ["generate", "--out", "x.jpg", "--guidance", "1"],
        ["generate", "7", "--negative", "1", "--solver", "ddim", "--solver-option", "eta=0.5"],
        ["generate", "7", "--count", "5", "--grid", "--columns", "2", "--enlarge", "2", "--max-rows", "2"],
        ["anagram", "6", "9", "--view", "rotate_180", "--spacing", "karras"],
        ["anagram", "6", "9", "0", "--view", "flip", "--view", "patch_permute:patches=4"],
        ["hybrid", "--far", "3", "--near", "8", "--sigma", "1.5", "--solver", "ddpm"],
        ["hybrid", "--far", "3", "--middle", "1", "--near", "8"],
        ["compose", "3", "5", "--weight", "0.7", "--weight", "0.7", "--without", "1"],
        ["panorama", "8", "--width", "50", "--height", "30"],
    ],
)
def test_what_is_made_can_be_made_again(run: Run, args: list[str]) -> None:
    code, out, err = run(*args, "--model", "MODEL", "--seed", 3)
    assert (code, files()) == (0, {out.strip()}), err
    assert "seed 3" in err
    code, said, err = run("replay", out.strip())
    assert code == 0, err
    assert "agree exactly" in said or "within one grey level" in said


def test_several_pictures_carry_their_seeds_and_are_the_ones_made_alone(run: Run) -> None:
    code, out, _ = run("generate", "7", "-m", "MODEL", "--seed", 2**64 - 1, "--count", 3, "--max-rows", 2)
    expected = [f"7-{seed}.png" for seed in (2**64 - 1, 0, 1)]
    assert (code, out.split()) == (0, expected)
    run("generate", "7", "-m", "MODEL", "--seed", 1, "--out", "alone.png")
    apart = read_picture("7-1.png") - read_picture("alone.png")
    assert float(apart.abs().max()) <= 1.01 / 127.5  # one grey level


def test_a_seed_that_was_drawn_is_told(run: Run) -> None:
    _, out, err = run("generate", "-m", "MODEL")
    metadata = read_metadata(out.strip())
    assert metadata is not None
    seed = metadata["recipe"]["seed"]
    assert f"seed {seed}," in err
    assert out == f"picture-{seed}.png\n"


def test_no_metadata_means_none(run: Run) -> None:
    assert run("generate", "7", "-m", "MODEL", *TO, "--no-metadata", "--animate", "x.gif")[0] == 0
    assert read_metadata("generate.png") is None
    assert read_metadata("x.gif") is None
    assert "parameters" not in Image.open("generate.png").info
    code, _, err = run("replay", "generate.png")
    assert (code, err.count("\n")) == (2, 1)
    assert "--recipe" in err


def test_an_animation_has_a_frame_for_every_step(run: Run) -> None:
    run("generate", "7", "-m", "MODEL", "--steps", 6, "--enlarge", 2, "--animate", "x.gif")
    with Image.open("x.gif") as film:
        assert (film.n_frames, film.size) == (6, (56, 56))  # type: ignore[attr-defined]
    code, _, err = run("replay", "x.gif")
    assert code == 2
    assert "is an animation" in err


@pytest.mark.parametrize("name", ["r.yaml", "r.json"])
def test_a_recipe_file_makes_the_same_picture(run: Run, name: str) -> None:
    run("generate", "7", "-m", "MODEL", "--seed", 5, *TO, "--recipe-out", name, "--no-metadata")
    assert (yaml.safe_load if name == "r.yaml" else json.loads)(Path(name).read_text())["seed"] == 5
    assert run("run", name, "--out", "run.png", "--enlarge", 1)[0] == 0
    assert Image.open("run.png").tobytes() == Image.open("generate.png").tobytes()
    code, out, _ = run("replay", "generate.png", "--recipe", name)
    assert (code, "agree exactly" in out) == (0, True)
    code, out, _ = run("run", name, "--seed", 8, "--count", 2, "--out", "new.png")
    assert (code, out.split()) == (0, ["new-8.png", "new-9.png"])
    code, out, err = run("replay", name, "--out", "again.png")
    assert (code, out.split()) == (0, ["again.png"])
    assert "nothing to compare" in err


def test_replay_tells_pixels_that_differ(run: Run) -> None:
    run("generate", "7", "-m", "MODEL", "--seed", 5, *TO, "--recipe-out", "r.yaml")
    x = read_picture("generate.png")[0]
    near = x + torch.where(x < 0, 1 / 127.5, -1 / 127.5)
    save_picture(near, "near.png")
    save_picture(x.flip(1), "far.png")
    save_picture(x[:, :14], "half.png")
    code, out, _ = run("replay", "near.png", "--recipe", "r.yaml")
    assert (code, "within one grey level" in out) == (0, True)
    code, out, _ = run("replay", "far.png", "--recipe", "r.yaml")
    assert (code, "differ: by up to" in out) == (1, True)
    code, out, _ = run("replay", "half.png", "--recipe", "r.yaml")
    assert (code, "28 x 28 instead of 28 x 14" in out) == (1, True)


def test_the_arithmetic_is_part_of_the_recipe(run: Run) -> None:
    run("generate", "7", "-m", "MODEL", "--seed", 3, "--dtype", "bfloat16", "--out", "a.png")
    assert read_metadata("a.png")["recipe"]["dtype"] == "bfloat16"  # type: ignore[index]
    code, said, _ = run("replay", "a.png")  # in bfloat16, because the recipe says so
    assert (code, "agree exactly" in said or "within one grey level" in said) == (0, True)
    run("replay", "a.png", "--dtype", "float32", "--out", "b.png")
    run("generate", "7", "-m", "MODEL", "--seed", 3, "--out", "c.png")
    assert torch.equal(read_picture("b.png"), read_picture("c.png"))
    assert not torch.equal(read_picture("a.png"), read_picture("c.png"))


@pytest.mark.parametrize("change", [{"steps": 10_000, "repeats": 100, "count": 3}, {"count": 100_000}])
def test_a_costly_recipe_is_refused_before_it_is_run(run: Run, change: dict[str, int]) -> None:
    run("generate", "7", "-m", "MODEL", "--seed", 1, "--out", "a.png", "--recipe-out", "r.json")
    costly = json.loads(Path("r.json").read_text()) | change
    Path("costly.json").write_text(json.dumps(costly))
    for words in (
        ["replay", "a.png", "--recipe", "costly.json"],
        ["replay", "costly.json"],
        ["run", "costly.json"],
    ):
        code, out, err = run(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "at most 100,000 are allowed: --yes" in err
    Path("costly.json").write_text(json.dumps(json.loads(Path("r.json").read_text())))
    assert run("replay", "a.png", "--recipe", "costly.json", "--yes")[0] == 0


def test_replay_says_when_the_weights_are_others(run: Run, models: Path) -> None:
    run("generate", "-m", "MODEL", "--seed", 5, *TO, "--guidance", 1)
    code, _, err = run("replay", "generate.png", "--model", models / "denoiser", "--out", "new.png")
    assert code == 1
    assert "are not those of the recipe" in err
    assert read_metadata("new.png") == read_metadata("generate.png")


# -- pictures from pictures


def drawn() -> None:
    """photo.png, larger than the model's pictures, and a mask of its lower half."""
    Path("in").mkdir()
    torch.manual_seed(1)
    save_picture(torch.rand(3, 60, 56) * 2 - 1, "in/photo.png")
    rows = (torch.arange(60) >= 30).float() * 2 - 1
    save_picture(rows[None, :, None].expand(1, 60, 56), "in/mask.png")


@pytest.mark.parametrize(
    "args",
    [
        ["translate", "in/photo.png", "3", "--strength", "0.5"],
        ["inpaint", "in/photo.png", "3", "--mask", "in/mask.png"],
        ["inpaint", "in/photo.png", "3", "--mask", "in/mask.png", "--strength", "0.5"],
        ["inpaint", "in/photo.png", "3", "--mask", "in/mask.png", "--repeats", "2", "--jump", "2"],
    ],
)
def test_inputs_are_found_again_by_their_hash(run: Run, args: list[str]) -> None:
    drawn()
    code, out, err = run(*args, "-m", "MODEL", "--seed", 1)
    assert code == 0, err
    assert "56 x 60" in err
    made = out.strip()
    assert "agree" in run("replay", made)[1]  # where they were
    Path("in").rename("moved")
    code, _, err = run("replay", made)
    assert (code, err.count("\n")) == (2, 1)
    assert "--inputs FOLDER" in err
    assert "agree" in run("replay", made, "--inputs", "moved")[1]
    Path(made).rename(Path("moved", made))
    assert "agree" in run("replay", Path("moved", made))[1]  # beside the picture
    save_picture(torch.zeros(1, 60, 56), "moved/photo.png")
    code, _, err = run("replay", Path("moved", made))
    assert code == 2
    assert "moved/photo.png" in err


def test_inpainting_keeps_the_rest_and_shows_its_mask(run: Run) -> None:
    run("generate", "1", "-m", "MODEL", "--out", "digit.png", "--enlarge", 1)
    rows = (torch.arange(28) >= 14).float()
    alpha = ((1 - rows) * 255).byte()[:, None].expand(28, 28)
    Image.merge("LA", [Image.new("L", (28, 28)), Image.fromarray(alpha.numpy())]).save("mask.png")
    args = ["inpaint", "digit.png", "8", "-m", "MODEL", "--mask", "mask.png", "--mask-convention", "alpha"]
    code, _, err = run(*args, "--show-mask", "shown.png", "--out", "inpaint.png", "--enlarge", 1)
    assert code == 0, err
    assert "50.0%" in err
    assert torch.equal(read_picture("inpaint.png")[..., :14, :], read_picture("digit.png")[..., :14, :])
    assert torch.equal(read_picture("shown.png")[0, 0, :, 0], rows * 2 - 1)
    assert "agree" in run("replay", "inpaint.png")[1]


def test_an_input_is_never_written_over(run: Run) -> None:
    drawn()
    before = Path("in/photo.png").read_bytes()
    Path("in/photo.png").rename("x-7.png")
    args = ["translate", "x-7.png", "3", "-m", "MODEL"]
    for more in (["--out", "x-7.png"], ["--out", "x.png", "--seed", 6, "--count", 2]):
        code, _, err = run(*args, *more)
        assert (code, "--out" in err) == (2, True)
    assert run("denoise", "x-7.png", "-m", "MODEL", "--out", "x-7.png")[0] == 2
    assert Path("x-7.png").read_bytes() == before


def test_denoise_writes_a_sheet_and_prints_psnr(run: Run, models: Path) -> None:
    drawn()
    code, out, err = run(
        "denoise", "in/photo.png", "3", "-m", "MODEL", "--at", 0.2, "--at", 0.9, "--steps", 3
    )
    assert code == 0, err
    assert out.splitlines()[0] == "photo-denoised.png"
    for word in ("PSNR in dB", "noised", "blur", "one step", "iterative", "0.2", "0.9"):
        assert word in out
    metadata = read_metadata("photo-denoised.png")
    assert metadata is not None
    assert metadata["denoise"]["at"] == [0.2, 0.9]
    assert run("denoise", "in/photo.png", "-m", models / "denoiser", "--steps", 2)[0] == 0


# -- what is refused


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["generate", "7", "--out", "no/x.png"], 1, "there is no folder no"),
        (["generate", "7", "--out", "x.bmp"], 2, ".png, .jpg"),
        (["generate", "7", "--animate", "x.avi"], 2, ".gif, .mp4"),
        (["generate", "7", "--recipe-out", "x.txt"], 2, ".yaml"),
        (["generate", "7", "--columns", "3"], 2, "--grid"),
        (["generate", "7", "--steps", "0"], 2, "--steps"),
        (["generate", "7", "--steps", "1000000000"], 2, "10000"),
        (["generate", "7", "--guidance", "nan"], 2, "--guidance"),
        (["generate", "7", "--guidance", "inf"], 2, "--guidance"),
        (["generate", "7", "--seed", str(2**64)], 2, "--seed"),
        (["generate", "7", "--seed", "-1"], 2, "--seed"),
        (["generate", "7", "--count", "0"], 2, "--count"),
        (["generate", "7", "--solver", "magic"], 2, "dpm++2m"),
        (["generate", "7", "--solver", "eulr"], 2, "Did you mean euler?"),
        (["generate", "7", "--in-pixels"], 2, "--in-pixels"),
        (["anagram", "6", "9", "--view", "rotate180"], 2, "Did you mean rotate_180"),
        (["translate", "in/foto.png", "3"], 2, "Did you mean photo.png"),
        (["generate", "7", "--solver-option", "eta"], 2, "NAME=VALUE"),
        (["generate", "7", "--solver", "euler", "--solver-option", "eta=1"], 2, "eta"),
        (["generate", "7", "--spacing", "magic"], 2, "trailing"),
        (["generate", "7", "--dtype", "float16", "--device", "cpu"], 2, "float16"),
        (["generate", "7", "--compile", "maybe"], 2, "auto, on, off"),
        (["generate", "7", "--offload", "network", "--device", "cpu"], 2, "offload"),
        (["generate", "7", "--negative", "1", "--guidance", "1"], 2, "--guidance"),
        (["generate", "a rocket"], 2, "it knows 0, 1, 2"),
        (["generate", "7", "8"], 2, "(8)"),
        (["anagram", "6", "9", "--view", "upside"], 2, "square_hinge"),
        (["anagram", "6", "9", "--view", "patch_permute:patches=3"], 2, "patch"),
        (["anagram", "6"], 2, "prompts"),
        (["anagram", "6", "9", "8"], 2, "3 readings need 2 views"),
        (["hybrid", "--far", "6", "--near", "9", "--sigma", "-1"], 2, "sigma"),
        (["compose", "6", "9", "--weight", "1"], 2, "weights"),
        (["panorama", "6", "--width", "20"], 2, "smaller than the network's"),
        (["translate", "in/photo.png", "3", "--strength", "0"], 2, "above 0"),
        (["translate", "in/photo.png", "3", "--strength", "2"], 2, "at most 1"),
        (["translate", "in/photo.png", "3", "--strength", "nan"], 2, "above 0"),
        (["translate", "in/nothing.png", "3"], 2, "in/nothing.png"),
        (["translate", "in", "3"], 2, "folder"),
        (["inpaint", "in/photo.png", "3", "--mask", "in/small.png"], 2, "of the picture's size"),
        (["inpaint", "in/photo.png", "3"], 2, "--mask"),
        (["denoise", "in/photo.png", "--at", "0"], 2, "above 0"),
        (["replay", "in/photo.png"], 2, "--recipe"),
        (["run", "in/photo.png"], 2, "recipe"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    run: Run, args: list[str], code: int, words: str
) -> None:
    drawn()
    save_picture(torch.ones(1, 28, 28), "in/small.png")
    before = files()
    made = [] if args[0] in ("replay", "run") else ["--model", "MODEL"]
    got, out, err = run(*args, *made)
    assert (got, out) == (code, "")
    assert words in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert files() == before


def test_a_model_that_is_missing_has_an_exit_code_of_its_own(run: Run) -> None:
    code, _, err = run("generate", "7", "--model", "nowhere")
    assert (code, err.count("\n"), err[:7]) == (3, 1, "error: ")


def test_names_of_models_that_were_mistyped(run: Run, models: Path) -> None:
    Path("run/model").mkdir(parents=True)
    Path("run/model/model.json").write_text("{}")
    Path("runs/digits").mkdir(parents=True)
    for name, words in (
        ("digts", "Did you mean digits"),
        ("run", str(Path("run/model"))),
        ("runs/digit", "there is no folder runs/digit. Did you mean runs/digits"),
        (str(models / "digit"), str(models / "digits")),
        ("nobody/nothing", "there is no folder nobody/nothing"),
    ):
        code, _, err = run("generate", "7", "--model", name, "--offline")
        assert (code, err.count("\n"), words in err) == (3, 1, True), err


def test_damaged_weights_are_one_line_and_debug_shows_where(run: Run, models: Path) -> None:
    Path("bad").mkdir()
    Path("bad/model.json").write_text((models / "digits/model.json").read_text())
    Path("bad/model.safetensors").write_bytes(b"cut short")
    code, _, err = run("generate", "7", "--model", "bad")
    assert (code, err.count("\n"), "sha256" in err) == (1, 1, True)
    for args in (["--debug", "generate", "7"], ["generate", "7", "--debug"]):
        code, _, err = run(*args, "--model", "bad")
        assert (code, "Traceback" in err) == (1, True)


def test_what_nobody_foresaw_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, **options: object) -> None:  # noqa: ARG001
        raise RuntimeError("line one\nline two")

    monkeypatch.setattr("sfumato.models.files.registry.load", broken)
    code, _, err = run("generate", "7", "-m", "digits")
    assert (code, err.count("\n")) == (1, 1)
    assert "line one line two" in err


# -- models, training, judging


def test_models_lists_what_ships_and_what_lies_in_folders(run: Run, models: Path) -> None:
    code, out, _ = run("models")
    assert code == 0
    for name in (*MODELS, *HUB):
        assert name in out
    code, out, _ = run("models", models / "digits", models / "denoiser")
    assert code == 0
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9; 28 x 28 grey" in out
    assert "no prompts" in out
    code, out, _ = run("models", models / "asked")
    assert (code, "free text; 16 x 16" in out) == (0, True)
    assert run("models", "nowhere")[0] == 3


@pytest.mark.parametrize("preset", ["digits", "digits-denoise"])
def test_train_leaves_a_model_and_samples_and_resumes(
    run: Run, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.setattr("sfumato.training.loop.load_dataset", lambda name, cache: tiny.digits())
    monkeypatch.setattr("sfumato.training.datasets.load_dataset", lambda name, split, cache: tiny.digits())
    small = replace(
        PRESETS[preset], batch=200, network_config=_smaller(preset), sampling=SamplingDefaults(steps=1)
    )
    monkeypatch.setitem(PRESETS, preset, small)
    args = ["train", preset, "--out", "out", "--device", "cpu", "--epochs", 1]
    code, out, err = run(*args, "--max-steps", 1)
    assert (code, out.strip()) == (0, "out/model"), err
    assert "step 1/1, epoch 1/1, loss" in err
    assert "images/s" in err
    code, _, err = run(*args)
    assert (code, "out" in err) == (2, True)
    code, _, err = run(*args, "--resume")
    assert code == 0, err
    assert "step 2/2" in err
    assert Path("out/samples/epoch-001.png").is_file()
    assert Path("out/loss.svg").is_file()
    assert run("models", "out/model")[0] == 0


def _smaller(preset: str) -> dict[str, object]:
    if preset == "digits":
        return {"width": 16, "deep": 32, "middle": 1, "classes": 10}
    return {"hidden": 4, "timed": False, "classes": None}


def test_train_refuses(run: Run) -> None:
    for args, words in (
        (["digits", "--dtype", "float16"], "float16"),
        (["nothing"], "digits-denoise"),
        (["digits", "--epochs", 0], "--epochs"),
    ):
        code, _, err = run("train", *args)
        assert (code, words in err) == (2, True)
    assert files() == set()


def test_evaluate_says_which_counts_there_are(run: Run) -> None:
    code, _, err = run("evaluate", "-m", "MODEL", "--count", 7)
    assert code == 2
    for word in ("--count 7", "500", "1000", "2000", "5000"):
        assert word in err
    _, out, _ = run("evaluate", "--help")
    assert all(count in out for count in ("500", "2000", "5000"))


def test_evaluate_takes_digits_models_only(run: Run, models: Path) -> None:
    code, _, err = run("evaluate", "--model", models / "denoiser")
    assert (code, "draws no digits" in err) == (2, True)


def test_demo_makes_a_page_that_replays(run: Run, models: Path) -> None:
    args = ["demo", "--out", "a/b", "--digits", "MODEL", "--model", models / "asked"]
    code, out, err = run(*args, "--denoiser", models / "denoiser", "--seed", 3)
    assert code == 0, err
    assert out.split() == ["a/b/index.html"]
    page = Path("a/b/index.html").read_text()
    ids = re.findall('<section id="s([^"]+)" data-status="done"', page)
    assert ids == [chapter.id for chapter in DEMO.chapters]
    assert f"--model {models / 'asked'} --digits {models / 'digits'}" in page
    pictures = set(re.findall('src="(pictures/.*?)"', page))
    for chapter in DEMO.chapters:
        own = sorted(picture for picture in pictures if picture.startswith(f"pictures/{chapter.id}-"))
        own = [picture for picture in own if "-seen" not in picture]
        assert own, chapter.id
        if chapter.subject != "denoiser":  # whose pictures no recipe makes
            assert "agree" in run("replay", f"a/b/{own[0]}")[1], own[0]
    kept = run(*args, "--denoiser", models / "denoiser", "--seed", 3)[2]
    assert kept.count(" kept") == len(DEMO.chapters)


def test_demo_without_a_model_begins_nothing(run: Run, models: Path) -> None:
    code, _, err = run("demo", "--digits", "MODEL", "--model", models / "asked", "--denoiser", "nowhere")
    assert (code, "nowhere" in err) == (3, True)
    assert files() == set()

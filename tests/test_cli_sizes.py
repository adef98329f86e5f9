"""The model that ships with a second stage, on the command line: 256 pixels by default, 64 where asked."""

from pathlib import Path

import torch
from PIL import Image

import sfumato as sf
from commands import Run
from sfumato.models.cascade import Cascade
from sfumato.models.files.registry import LARGER, load_whole
from sfumato.models.model import Model
from sfumato.pictures import read_metadata, read_picture, save_picture


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_name_brings_the_stage_that_ships_with_it() -> None:
    whole = load_whole("emoji")
    assert isinstance(whole, Cascade)
    assert (whole.sizes, whole.stages[1].name) == ([64, 256], LARGER["emoji"])
    assert isinstance(load_whole("digits"), Model)
    assert sf.load("emoji").shape == (3, 64, 64)
    assert len(sf.make_run("emoji", "a cat", seed=0).stages) == 2
    assert len(sf.make_run("emoji", "a cat", seed=0, upscale=64).stages) == 1


def test_what_ships_leaves_its_path_early_and_chooses_a_style() -> None:
    recipe, _ = sf.make_recipe("emoji", "a cat", seed=0)
    model = sf.load("emoji")
    assert 0 < recipe.until < recipe.expression["of"]["between"][0]  # the last estimate has no guidance
    assert set(recipe.expression["of"]["of"]["styles"]) <= set(model.network.styles)
    assert recipe.prompts() == ["a cat"]


def test_generate_draws_large_and_small_and_again(run: Run) -> None:
    how = ["--steps", "3", "--seed", "5"]
    assert run("generate", "a red apple", *how, "--out", "large.png")[0] == 0
    assert size("large.png") == (256, 256)
    assert (
        run("generate", "a red apple", *how, "--upscale", "64", "--enlarge", "1", "--out", "small.png")[0]
        == 0
    )
    assert size("small.png") == (64, 64)
    for name in ("large.png", "small.png"):
        assert run("replay", name)[0] == 0
    recipe = read_metadata(Path("large.png"))["recipe"]
    assert [stage["model"] for stage in recipe["stages"]] == ["emoji-256"]
    code, _, err = run("generate", "a red apple", *how, "--upscale", "128", "--out", "no.png")
    assert (code, "64, 256" in err) == (2, True)


def test_a_canvas_has_the_width_that_was_asked_for(run: Run) -> None:
    how = ["--steps", "2", "--seed", "5", "--out", "wide.png"]
    assert run("panorama", "a cat", "--width", "384", *how)[0] == 0
    assert size("wide.png") == (384, 256)
    code, _, err = run("panorama", "a cat", "--width", "385", *how)
    assert (code, "multiples of 4" in err) == (2, True)


def test_inpainting_keeps_the_pixels_at_the_large_size(run: Run) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand((3, 256, 256), generator=generator) * 2 - 1
    mask = torch.full((1, 256, 256), -1.0)
    mask[:, :100, :100] = 1
    save_picture(picture, Path("given.png"))
    save_picture(mask, Path("mask.png"))
    how = ["--steps", "3", "--seed", "1", "--out", "made.png"]
    assert run("inpaint", "given.png", "a cat", "--mask", "mask.png", *how)[0] == 0
    given, made = read_picture("given.png"), read_picture("made.png")
    assert torch.equal(given[..., 100:, :], made[..., 100:, :])
    assert torch.equal(given[..., :, 100:], made[..., :, 100:])
    assert not torch.equal(given, made)
    assert run("replay", "made.png")[0] == 0


def test_an_animation_shows_both_sizes_as_one(run: Run) -> None:
    how = ["--steps", "3", "--seed", "1", "--out", "a.png", "--animate", "a.gif"]
    assert run("generate", "a cat", *how)[0] == 0
    assert size("a.gif") == (256, 256)

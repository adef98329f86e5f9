"""What is made of a part of a picture is laid back into it, and all else stays to the pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sfumato as sf
from commands import Run
from sfumato.errors import UsageError
from sfumato.pictures import read_metadata
from sfumato.pictures.surroundings import Surroundings, box_around


def photo(height: int, width: int) -> np.ndarray:
    """A picture without two equal neighbours, (H, W, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def patch(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    """A mask (H, W) uint8, white in a patch."""
    mask = np.zeros((height, width), np.uint8)
    mask[rows, columns] = 255
    return mask


masks = st.tuples(*[st.integers(1, 60)] * 2).flatmap(
    lambda size: st.tuples(
        st.just(size),
        *(st.tuples(*[st.integers(0, side - 1)] * 2).map(sorted) for side in size),
        st.sampled_from([(8, 8), (28, 28), (8, 16), (64, 64)]),
        st.booleans(),
    )
)


@given(masks)
def test_a_box_lies_in_the_picture_and_holds_the_mask_or_is_refused(case: tuple) -> None:
    (height, width), (top, bottom), (left, right), shape, close = case
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top : bottom + 1, left : right + 1] = True
    most = (
        min(height, max(1, width * shape[0] // shape[1])),
        min(width, max(1, height * shape[1] // shape[0])),
    )
    if bottom - top >= most[0] or right - left >= most[1]:
        with pytest.raises(UsageError):
            box_around(mask, shape, close=close)
        return
    row, column, tall, wide = box_around(mask, shape, close=close)
    assert 0 <= row <= top <= bottom < row + tall <= height
    assert 0 <= column <= left <= right < column + wide <= width
    assert (tall, wide) == most or close


def test_the_part_is_in_the_middle_unless_the_mask_is_elsewhere() -> None:
    mask = torch.zeros(40, 100, dtype=torch.bool)
    mask[10:20, 45:50] = True
    assert box_around(mask, (8, 8)) == (0, 30, 40, 40)
    mask[10:20, 12:14] = True
    assert box_around(mask, (8, 8)) == (0, 12, 40, 40)
    assert box_around(mask[:, :40], (8, 8), close=True)[2:] == (20, 20)  # twice the mask's larger side


def test_each_pixel_that_the_mask_touches_is_made() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[5, 9] = True
    around = Surroundings(torch.zeros(3, 64, 64, dtype=torch.uint8), mask, (0, 0, 64, 64))
    _, made = around.part((8, 8), 3)
    assert made[0, 0].nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((300, 400), slice(20, 60), slice(300, 350)),
        ((90, 31), slice(60, 61), slice(0, 31)),  # a line over the whole width
        ((20, 20), slice(3, 9), slice(3, 9)),  # smaller than the model draws
        ((28, 56), slice(0, 28), slice(0, 3)),  # at the side
    ],
)
def test_all_else_stays_to_the_pixel(size: tuple[int, int], rows: slice, columns: slice, crop: bool) -> None:
    pixels, mask = photo(*size), patch(*size, rows, columns)
    edit = sf.inpaint(pixels, mask, "8", crop_to_mask=crop)
    made = sf.sample("digits", edit, seed=1, steps=2)
    (image,) = made.images
    after = np.asarray(image)
    assert after.shape == pixels.shape
    assert np.array_equal(after[mask == 0], pixels[mask == 0])
    assert (after[mask > 0] != pixels[mask > 0]).mean() > 0.5
    assert made.x.shape[-2:] == (28, 28)


def test_saved_and_indexed_pictures_are_laid_back() -> None:
    pixels, mask = photo(60, 50), patch(60, 50, slice(20, 30), slice(20, 30))
    made = sf.sample("digits", sf.inpaint(pixels, mask, "8"), seed=1, steps=2, count=2)
    assert [image.size for image in made[1].images] == [(50, 60)]
    assert np.array_equal(np.asarray(made[1].images[0]), np.asarray(made.images[1]))


def test_tensors_are_of_the_models_size_as_before() -> None:
    x, mask = torch.zeros(1, 1, 28, 28), torch.ones(1, 1, 28, 28)
    assert sf.sample("digits", sf.inpaint(x, mask, "8"), seed=1, steps=2).surroundings is None
    with pytest.raises(UsageError):
        sf.inpaint(x, mask, "8", crop_to_mask=True)


# -- the command line


@pytest.mark.parametrize("more", [[], ["--crop-to-mask"], ["--strength", "0.5"], ["--enlarge", "2"]])
def test_a_photo_keeps_its_size_and_is_made_again(run: Run, more: list[str]) -> None:
    pixels, mask = photo(120, 90), patch(120, 90, slice(100, 110), slice(5, 25))
    Path("in").mkdir()
    Image.fromarray(pixels).save("in/photo.png")
    alpha = Image.fromarray(np.zeros((120, 90), np.uint8)).convert("LA")
    alpha.putalpha(Image.fromarray(255 - mask))
    alpha.save("in/mask.png")
    args = ["inpaint", "in/photo.png", "3", "--mask", "in/mask.png", "--mask-convention", "alpha", *more]
    code, _, err = run(*args, "-m", "MODEL", "--seed", 1, "--out", "x.png", "--recipe-out", "r.json")
    assert code == 0, err
    after = np.asarray(Image.open("x.png"))
    times = 2 if "--enlarge" in more else 1
    assert after.shape == (120 * times, 90 * times, 3)
    assert np.array_equal(after[::times, ::times][mask == 0], pixels[mask == 0])
    code, said, err = run("replay", "x.png")
    assert (code, "agree exactly" in said) == (0, True), err
    if not more:
        assert run("run", "r.json", "--out", "again.png")[0] == 0
        assert np.array_equal(np.asarray(Image.open("again.png")), after)
    Path("in").rename("moved")
    assert run("replay", "x.png")[0] == 2
    assert "agree exactly" in run("replay", "x.png", "--inputs", "moved")[1]
    for entry in read_metadata("x.png")["recipe"]["inputs"].values():  # type: ignore[index]
        top, left, tall, wide = entry["box"]
        assert 0 <= top < top + tall <= 120
        assert 0 <= left < left + wide <= 90


def test_a_mask_that_no_part_holds_is_refused(run: Run) -> None:
    Image.fromarray(photo(30, 120)).save("photo.png")
    Image.fromarray(patch(30, 120, slice(0, 30), slice(0, 120))).save("mask.png")
    code, out, err = run("inpaint", "photo.png", "3", "-m", "MODEL", "--mask", "mask.png")
    assert (code, out) == (2, "")
    assert "120 x 30" in err


@pytest.mark.parametrize("box", [[0, 0, 999, 9], [-1, 0, 9, 9], [0, 0, 0, 9], [0, 0, 9]])
def test_a_box_of_a_strangers_recipe(run: Run, box: list[int]) -> None:
    Image.fromarray(photo(60, 60)).save("photo.png")
    Image.fromarray(patch(60, 60, slice(9, 20), slice(9, 20))).save("mask.png")
    args = ["inpaint", "photo.png", "3", "-m", "MODEL", "--mask", "mask.png", "--seed", 1]
    assert run(*args, "--recipe-out", "r.json")[0] == 0
    text = Path("r.json").read_text().replace(" ", "").replace("\n", "")
    Path("r.json").write_text(text.replace("[0,0,60,60]", str(box)))
    code, out, err = run("run", "r.json")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_mask_as_a_tensor_gives_the_models_size(tmp_path: Path) -> None:
    mask = torch.zeros(1, 1, 28, 28)
    mask[..., 14:, :] = 1
    made = sf.sample("digits", sf.inpaint(photo(60, 60), mask, "8"), seed=1, steps=2)
    made.save(tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size == (28, 28)

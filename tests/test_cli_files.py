"""The files of the command line: their names, what is replaced and what is not, stdout, lines of JSON."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sfumato as sf
from commands import Run, files
from sfumato.apps.cli.file_names import LONGEST, words_of
from sfumato.apps.cli.sheets import looks_at, readings
from sfumato.errors import SfumatoError
from sfumato.pictures import read_metadata, read_picture, save_picture, to_uint8
from sfumato.pictures.files import NameTakenError, publish
from sfumato.pictures.grid import LABEL_GAP
from sfumato.recipe import parse_recipe

# -- names


@pytest.mark.parametrize(
    ("prompts", "name"),
    [
        (["a rocket"], "rocket"),
        (["An old man", "people around the campfire"], "old-man-people-around-campfire"),
        (["the"], "the"),
        ([], "picture"),
        (["!!!"], "picture"),
        (["../../etc/passwd"], "etc-passwd"),
        (["crème brûlée"], "creme-brulee"),
        (["яблоко"], "яблоко"),
        (["x" * 300], "x" * LONGEST),
    ],
)
def test_words_of_a_prompt_as_a_name(prompts: list[str], name: str) -> None:
    assert words_of(prompts) == name


@given(st.lists(st.text(), max_size=3))
def test_every_prompt_gives_a_name_of_one_part(prompts: list[str]) -> None:
    name = words_of(prompts)
    assert 0 < len(name) <= LONGEST
    assert all(c == "-" or c.isalnum() for c in name)


def test_nothing_is_replaced_unasked(run: Run) -> None:
    said = [run("generate", "7", "-m", "MODEL", "--seed", 3)[1].strip() for _ in range(3)]
    assert said == ["7-3.png", "7-3-2.png", "7-3-3.png"]
    assert len({Path(name).read_bytes() for name in said}) == 1
    first = [run("generate", "7", "-m", "MODEL", "--seed", 3, "--count", 2, "--grid")[1] for _ in range(2)]
    assert first == ["7-3-sheet.png\n", "7-3-sheet-2.png\n"]
    Path("in.png").write_bytes(Path("7-3.png").read_bytes())
    twice = [run("denoise", "in.png", "-m", "MODEL", "--steps", 1, "--at", 1)[1].split()[0] for _ in "12"]
    assert twice == ["in-denoised.png", "in-denoised-2.png"]


def test_a_named_file_is_replaced_and_no_clobber_refuses(run: Run) -> None:
    made = ["generate", "7", "-m", "MODEL", "--out", "x.png"]
    assert run(*made, "--seed", 1)[0] == 0
    before = Path("x.png").read_bytes()
    code, out, err = run(*made, "--seed", 2, "--no-clobber")
    assert (code, out) == (2, "")
    assert "x.png" in err
    assert Path("x.png").read_bytes() == before
    assert run(*made, "--seed", 2)[0] == 0
    assert Path("x.png").read_bytes() != before


@pytest.mark.parametrize(
    ("taken", "more"),
    [
        ("x-4.png", ["--out", "x.png", "--seed", "3", "--count", "2"]),
        ("r.json", ["--recipe-out", "r.json"]),
        ("x.gif", ["--animate", "x.gif"]),
    ],
)
def test_no_clobber_sees_every_file_before_anything_is_drawn(run: Run, taken: str, more: list[str]) -> None:
    Path(taken).write_bytes(b"mine")
    code, out, err = run("generate", "7", "-m", "MODEL", "--no-clobber", *more)
    assert (code, out, taken in err) == (2, "", True)
    assert files() == {taken}
    assert Path(taken).read_bytes() == b"mine"


def test_no_clobber_hinders_nothing_new(run: Run) -> None:
    code, out, _ = run("generate", "7", "-m", "MODEL", "--no-clobber", "-n", 2, "-o", "x.png", "--seed", 3)
    assert (code, out.split()) == (0, ["x-3.png", "x-4.png"])


def test_of_two_writers_one_gets_the_name(tmp_path: Path) -> None:
    publish(tmp_path / "x", b"one", replace=False)
    with pytest.raises(NameTakenError):
        publish(tmp_path / "x", b"two", replace=False)
    assert (tmp_path / "x").read_bytes() == b"one"
    publish(tmp_path / "x", b"two")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"two"]
    assert issubclass(NameTakenError, SfumatoError)


# -- stdout


def test_a_picture_goes_to_stdout(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("generate", "7", "-m", "MODEL", "--seed", 3, "--out", "x.png", "--enlarge", 1)
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert run("generate", "7", "-m", "MODEL", "--seed", 3, "--out", "-", "--recipe-out", "r.json")[0] == 0
    assert isinstance(out.buffer, io.BytesIO)
    assert out.buffer.getvalue() == Path("x.png").read_bytes()
    assert files() == {"x.png", "r.json"}


@pytest.mark.parametrize("more", [["--count", "2"], ["--json"]])
def test_what_stdout_cannot_hold(run: Run, more: list[str]) -> None:
    code, out, err = run("generate", "7", "-m", "MODEL", "--out", "-", *more)
    assert (code, out, "--out -" in err) == (2, "", True)


def test_a_line_of_json_for_each_picture(run: Run) -> None:
    made = ["-m", "MODEL", "--seed", 3, "--json", "--recipe-out", "r.json"]
    code, out, _ = run("generate", "7", *made, "--count", 2)
    assert code == 0
    assert list(map(json.loads, out.splitlines())) == [
        {"path": "7-3.png", "seed": 3},
        {"path": "7-4.png", "seed": 4},
    ]
    _, out, _ = run("generate", "7", *made, "--count", 2, "--grid")
    assert json.loads(out) == {"path": "7-3-sheet.png", "seed": 3, "count": 2}
    _, out, _ = run("anagram", "6", "9", *made, "--pick", "best", "--from", 2)
    line = json.loads(out)
    assert read_metadata(line["path"])["recipe"]["seed"] == line["seed"]  # type: ignore[index]
    assert len(line["scores"]["probabilities"]) == 2
    assert all(0 <= p <= 1 for p in line["scores"]["probabilities"])


def test_quiet_leaves_the_names_of_files(run: Run) -> None:
    for args in (["--quiet", "generate", "7"], ["generate", "7", "--quiet"]):
        code, out, err = run(*args, "-m", "MODEL", "--seed", 3)
        assert (code, err) == (0, "")
        assert Path(out.strip()).is_file()
    code, out, err = run("generate", "7", "--quiet", "-m", "nowhere")
    assert (code, out, err[:7]) == (3, "", "error: ")
    assert run("generate", "7", "-m", "MODEL", "--seed", 3)[2] != ""  # it is not remembered


# -- for people


@pytest.mark.parametrize("more", [[], ["--count", "2", "--grid"], ["--no-metadata", "--out", "x.webp"]])
def test_small_pictures_are_enlarged_and_made_again(run: Run, more: list[str]) -> None:
    args = ["generate", "7", "-m", "MODEL", "--seed", 3, *more]
    _, out, err = run(*args, "--recipe-out", "r.json")
    made = out.split()[0]
    assert Image.open(made).height >= 256 or "--grid" in more, err
    recipe = ["--recipe", "r.json"] if "--no-metadata" in more else []
    code, said, err = run("replay", made, *recipe)
    assert (code, "agree exactly" in said) == (0, True), err
    if not more:
        assert run(*args, "--enlarge", 1, "--out", "pixels.png")[0] == 0
        small, large = np.asarray(Image.open("pixels.png")), np.asarray(Image.open(made))
        assert small.shape == (28, 28)
        assert large.shape == (280, 280)
        assert np.array_equal(large[::10, ::10], small)
        assert np.array_equal(large[9::10, 9::10], small)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["generate", "7"], 1),
        (["anagram", "6", "9", "--view", "rotate_180"], 2),
        (["hybrid", "--far", "6", "--near", "8"], 3),
        (["compose", "6", "8"], 1),
    ],
)
def test_a_sheet_shows_the_readings(run: Run, models: Path, words: list[str], count: int) -> None:
    code, out, err = run(*words, "-m", "MODEL", "--seed", 3, "--count", 2, "--grid")
    assert code == 0, err
    sheet = Image.open(out.strip())
    assert sheet.height > 140  # pictures, and captions below
    recipe = parse_recipe(read_metadata(out.strip())["recipe"])  # type: ignore[index]
    x = sf.run(recipe, sf.load(str(models / "digits"))).x
    shown = readings(x[:1], looks_at(recipe)) or [(x[0], "")]
    assert len(shown) == count
    left = to_uint8(read_picture(out.strip()))[0, :, 16 : 16 + 140, 16:]
    at = 0
    for picture, _ in shown[:2]:  # beside each other, each pixel five wide
        drawn = left[:, ::5, at : at + 140 : 5][:, :28]
        assert torch.equal(drawn, to_uint8(picture).expand(3, -1, -1))
        at += 140 + LABEL_GAP
    if words[0] == "anagram":
        assert torch.equal(shown[1][0], shown[0][0].flip(-1, -2))
        assert [text for _, text in shown] == ["6", "9 (rotate 180)"]


# -- what is picked


def test_the_best_that_is_not_good_is_said(run: Run) -> None:
    args = ["-m", "MODEL", "--seed", 5, "--pick", "best", "--from", 2]  # random weights draw no digits
    code, _, err = run("anagram", "6", "9", *args)
    assert code == 0
    assert "--from 8" in err
    code, _, err = run("anagram", "6", "6", "--view", "identity", "-m", "digits", *args[2:])
    assert code == 0
    assert "--from 8" not in err


def test_pictures_that_are_kept_by_name_are_whole(run: Run) -> None:
    run("generate", "7", "-m", "MODEL", "--seed", 3, "--no-metadata")
    assert Image.open("7-3.png").info == {}
    x = read_picture("7-3.png")
    save_picture(x, "again.png")
    assert torch.equal(read_picture("again.png"), x)

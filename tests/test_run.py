"""A run is objects first: what JSON cannot hold runs all the same, and its recipe names it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sfumato as sf
from sfumato.core.expression import Expression, Unary
from sfumato.core.frame import Answers, Frame, Query
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level
from sfumato.core.solvers import SOLVERS, Solver, Stepping, StepState, make_solver, read_solver, write_solver
from sfumato.core.solvers.base import toward_x0
from sfumato.core.writing import Writer
from sfumato.errors import UsageError
from sfumato.models.files.registry import load
from sfumato.pictures import read_metadata
from sfumato.runs import read_run, write_run
from sfumato.sampling import make_recipe, make_run, run
from sfumato.techniques import inpaint, translate


@dataclass(frozen=True)
class Halves(Unary):
    """A linear node: the mean of an estimate and its mirror image, seen twice."""

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        return self.child.combine(frame, answers)


@dataclass(frozen=True)
class Half(Solver):
    """Euler's step, written by a user."""

    def step(self, state: StepState) -> Stepping:
        x0 = (yield from state.denoise(state.x, state.now)).x0
        return toward_x0(state.x, x0, state.now, state.to)


def rising(now: Level, to: Level | None) -> float:  # noqa: ARG001
    return 1 + now.t


def digit(**settings: object) -> sf.Pictures:
    return sf.sample("digits", "7", seed=7, steps=4, **settings)  # type: ignore[arg-type]


def test_a_solver_of_the_users_own_runs_and_is_named_in_the_recipe() -> None:
    made = digit(solver=Half())
    assert torch.equal(made.x, digit(solver="euler").x)
    assert made.recipe.custom == ("solver Half",)
    with pytest.raises(UsageError, match="Half"):
        run(made.recipe, load("digits"))


def test_a_node_of_the_users_own_runs_and_is_named_in_the_recipe() -> None:
    made = sf.sample("digits", Halves(sf.prompt("7")), seed=7, steps=4)
    assert torch.equal(made.x, digit().x)
    assert made.recipe.custom == ("node Halves",)
    assert made.recipe.prompts() == ["7"]
    with pytest.raises(UsageError, match="Halves"):
        run(made.recipe, load("digits"))


def test_guidance_by_a_function_runs_and_is_named_in_the_recipe() -> None:
    made = digit(guidance=rising)
    curve = digit(guidance=sf.Curve(((0.0, 1.0), (1.0, 2.0))))
    torch.testing.assert_close(made.x, curve.x, atol=1e-5, rtol=0)
    assert made.recipe.custom == ("guidance rising",)
    assert curve.recipe.custom == ()


def test_what_is_the_users_own_stands_in_the_inputs_of_a_recipe() -> None:
    model = load("digits")
    e = Halves(sf.prompt("7")).guided(rising)
    recipe, inputs = make_recipe(model, e, seed=7, steps=4, solver=Half())
    assert set(recipe.custom) == {"node Halves", "guidance rising", "solver Half"}
    again = run(recipe, model, inputs)
    assert torch.equal(again.x, sf.sample(model, e, seed=7, steps=4, solver=Half()).x)


def test_replay_names_what_it_cannot_make_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sfumato.apps.cli import main

    (path,) = digit(solver=Half()).save(tmp_path / "half.png")
    metadata = read_metadata(path)
    assert metadata is not None
    assert metadata["recipe"]["custom"] == ["solver Half"]
    assert main(["replay", str(path)]) == 2
    assert "solver Half" in capsys.readouterr().err


@given(name=st.sampled_from(sorted(SOLVERS)))
def test_every_solver_reads_back_what_it_wrote(name: str) -> None:
    solver = make_solver(name)
    writer = Writer()
    assert read_solver(*write_solver(solver, writer), {}) == solver
    assert writer.custom == []


def test_a_run_reads_back_what_it_wrote() -> None:
    model = load("digits")
    x = digit().x
    mask = torch.zeros(1, 1, 28, 28)
    mask[..., 14:, :] = 1
    first = make_run(model, inpaint(x, mask, "3", repeats=2, jump=2), seed=2, steps=5, count=2)
    recipe, inputs = write_run(first)
    second = read_run(recipe, model, inputs)
    assert write_run(second)[0] == recipe
    assert [stage.path for stage in second.stages] == [stage.path for stage in first.stages]


# ---------------------------------------------------------------------------- pictures in every form


def in_every_form(folder: Path) -> list[object]:
    """One digit as a file, a PIL picture, and arrays of bytes and of floats."""
    (path,) = digit().save(folder / "seven.png")
    image = Image.open(path)
    array = np.array(image)
    return [path, str(path), image, array, array[..., None], array.astype(np.float32) / 255]


def test_a_picture_may_be_given_in_every_form(tmp_path: Path) -> None:
    made = [
        sf.sample("digits", translate(form, "9"), seed=1, steps=4).x  # type: ignore[arg-type]
        for form in in_every_form(tmp_path)
    ]
    assert all(torch.equal(x, made[0]) for x in made)


def test_an_edit_of_a_file_can_be_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.apps.cli import main

    monkeypatch.chdir(tmp_path)
    digit().save("seven.png")
    white = np.zeros((28, 28), np.uint8)
    white[14:] = 255
    Image.fromarray(white).save("mask.png")
    sf.sample("digits", inpaint("seven.png", "mask.png", "2"), seed=3, steps=4).save("two.png")
    assert main(["replay", "two.png"]) == 0


def test_a_photo_is_cropped_and_resized_to_the_run(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "photo.jpg")
    made = sf.sample("digits", translate(tmp_path / "photo.jpg", "1", strength=0.3), seed=0, steps=10)
    assert made.x.shape == (1, 1, 28, 28)


@pytest.mark.parametrize(
    ("picture", "named"),
    [
        (torch.full((1, 28, 28), 1.5), "1.5"),
        (torch.full((1, 28, 28), float("nan")), "nan"),
        (np.full((28, 28), 2.0), "2"),
        (np.full((28, 28), -0.5, np.float32), "-0.5"),
        (np.zeros((28, 28), np.int64), "int64"),
        (np.zeros((28, 28, 7), np.uint8), "7"),
        (np.zeros((0, 3), np.uint8), "0"),
        (np.zeros(28), "28"),
        ([0, 1], "list"),
        (None, "NoneType"),
        ("no-such-file.png", "no-such-file.png"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_was_found(picture: object, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        sf.sample("digits", translate(picture, "9"), seed=1, steps=4)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------- what comes back


def test_results_are_a_sequence_of_pictures(tmp_path: Path) -> None:
    made = sf.sample("digits", "7", seed=7, steps=4, count=3)
    assert len(made) == 3
    assert [one.recipe.seed for one in made] == [7, 8, 9]
    assert torch.equal(made[-1].x[0], made.x[2])
    with pytest.raises(IndexError):
        made[3]
    assert [image.size for image in made.images] == [(28, 28)] * 3
    (path,) = made[1].save(tmp_path / "one.png")
    metadata = read_metadata(path)
    assert metadata is not None
    assert metadata["recipe"]["seed"] == 8
    assert "\n" not in repr(made)
    assert "28 x 28" in repr(made)


def test_a_notebook_shows_small_pictures_enlarged() -> None:
    import io

    shown = Image.open(io.BytesIO(digit()._repr_png_()))
    assert shown.format == "PNG"
    assert min(shown.size) >= 256


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"count": 0}, "count"),
        ({"count": True}, "count"),
        ({"size": (0, 28)}, "size"),
        ({"steps": 0}, "steps"),
        ({"solver": "none"}, "none"),
        ({"solver": Half(), "options": {"eta": 1}}, "options"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        sf.sample("digits", "7", **settings)  # type: ignore[arg-type]


def test_a_key_of_a_node_is_given_once() -> None:
    with pytest.raises(UsageError, match="seen"):

        class Again(Expression):
            keys = ("seen",)

            @classmethod
            def read(cls, data: object, reader: object) -> Expression: ...

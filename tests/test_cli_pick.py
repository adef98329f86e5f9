"""--pick best: of many pictures those that the package's classifier reads best."""

from pathlib import Path

import pytest
import torch

import sfumato as sf
from commands import Run, files
from sfumato.evaluation.digits import load_judge
from sfumato.evaluation.illusions import pick_best
from sfumato.pictures import read_metadata


def best_seeds(models: Path, expression: sf.Expression, *, among: int, keep: int) -> list[int]:
    """What the library itself picks, seeds 5 and on."""
    made = sf.sample(sf.load(str(models / "digits")), expression, seed=5, count=among)
    rows, _ = pick_best(load_judge(), made.x, expression, keep=keep)
    return [5 + row for row in rows]


def test_the_best_of_many_is_kept_and_made_again(run: Run, models: Path) -> None:
    anagram = ["anagram", 6, 9, "--view", "rotate_180", "--model", "MODEL", "--seed", 5, "-o", "anagram.png"]
    code, out, err = run(*anagram, "--pick", "best", "--from", 6, "--recipe-out", "best.json")
    assert code == 0, err
    assert out.split() == ["anagram.png", "best.json"]
    (seed,) = best_seeds(models, sf.anagram("6", "9", view="rotate_180"), among=6, keep=1)
    recipe = read_metadata("anagram.png")["recipe"]
    assert (recipe["seed"], recipe["count"]) == (seed, 1)
    assert f"seed {seed}: " in err
    assert "agree" in run("replay", "anagram.png")[1]
    assert run("run", "best.json", "--out", "again.png")[0] == 0
    assert torch.equal(sf.read_picture("again.png"), sf.read_picture("anagram.png"))


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        (["generate", "7"], sf.prompt("7")),
        (["hybrid", "--far", "3", "--near", "8"], sf.hybrid(far="3", near="8")),
    ],
)
def test_several_are_kept_by_their_seeds(
    run: Run, models: Path, words: list[str], expression: sf.Expression
) -> None:
    code, out, err = run(
        *words, "--model", "MODEL", "--seed", 5, "--pick", "best", "--from", 5, "-n", 2, "-o", "p.png"
    )
    assert code == 0, err
    seeds = best_seeds(models, expression, among=5, keep=2)
    assert out.split() == [f"p-{seed}.png" for seed in seeds]
    assert files() == set(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "7", "--from", "4"], "--pick best"),
        (["generate", "7", "--pick", "worst"], "'worst'"),
        (["generate", "7", "--pick", "best", "--count", "17"], "--count 17"),
        (["generate", "7", "--pick", "best", "--grid"], "--grid"),
        (["generate", "7", "--pick", "best", "-n", "2", "--recipe-out", "r.json"], "--recipe-out"),
        (["generate", "--pick", "best"], "prompt"),
        (["generate", "banana", "--pick", "best"], "'banana'"),
    ],
)
def test_bad_picks_are_refused_before_anything_is_drawn(run: Run, words: list[str], message: str) -> None:
    code, out, err = run(*words, "--model", "MODEL")
    assert (code, out, message in err) == (2, "", True), err
    assert files() == set()


def test_a_model_that_nobody_judges(run: Run, models: Path) -> None:
    code, _, err = run("generate", "--model", models / "denoiser", "--pick", "best")
    assert (code, "denoiser" in err) == (2, True)
    assert files() == set()

"""How illusions are looked at and scored, against a reader whose answers are known."""

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.core.filters import HighPass, LowPass
from sfumato.core.views import make_view
from sfumato.errors import UsageError
from sfumato.evaluation.illusions import Look, looks, pick_best, score
from sfumato.evaluation.reader import log_probability, ranks

WORDS = ("left", "middle", "right")


class Rows:
    """Reads a 3 x 3 picture's first row: its pixels are the logits of three classes."""

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        return pictures[:, 0, 0].log_softmax(1)

    def meaning(self, text: str) -> frozenset[int]:
        if text == "side":
            return frozenset({0, 2})
        if text not in WORDS:
            raise UsageError(f"unknown: {text}")
        return frozenset({WORDS.index(text)})


def picture(first: tuple[float, ...], last: tuple[float, ...]) -> Tensor:
    return torch.tensor([first, (0.0, 0.0, 0.0), last])[None, None]


# -- how an expression is looked at


def test_one_look_for_each_prompt() -> None:
    assert looks(sf.prompt("a")) == (Look(text="a"),)
    anagram = sf.anagram("a", "b", "c", view=["flip", "rotate_cw"])
    flip, turn = make_view("flip"), make_view("rotate_cw")
    assert looks(anagram.guided(3)) == (
        Look(text="a"),
        Look(text="b", steps=(flip,)),
        Look(text="c", steps=(turn,)),
    )
    assert looks(sf.hybrid(far="a", near="b")) == (
        Look(text="a", steps=(LowPass(2),)),
        Look(text="b", steps=(HighPass(2),)),
    )


def test_nested_looks_go_from_the_outside_in() -> None:
    """seen(V) of low_pass(G) is V^T G D(V x): the picture is turned first and blurred then."""
    nested = sf.hybrid(far="a", near="b").seen("flip")
    first, _ = looks(nested)
    assert first.steps == (make_view("flip"), LowPass(2))


def test_what_is_asked_against_or_twice_is_no_look() -> None:
    assert looks(sf.compose("a", "b", without=["c"])) == (Look(text="a"), Look(text="b"))
    assert looks(sf.prompt("a").guided(3, negative="b")) == (Look(text="a"),)
    assert looks(sf.mean("a", "a")) == (Look(text="a"),)


def test_what_cannot_be_judged() -> None:
    with pytest.raises(UsageError, match="prompt"):
        looks(sf.unconditional())
    half = torch.zeros(1, 1, 4, 4)
    whole = sf.inpaint(torch.zeros(3, 4, 4), half, "a").whole()
    with pytest.raises(UsageError, match="mask"):
        looks(whole)


def test_a_high_pass_is_seen_on_middle_grey() -> None:
    bright = torch.full((1, 3, 16, 16), 0.9)
    look = Look(text="a", steps=(HighPass(2),))
    torch.testing.assert_close(look.at(bright), torch.zeros_like(bright), rtol=0, atol=1e-5)
    assert look.at(torch.randn(1, 3, 16, 16) * 3).abs().max() <= 1


# -- scores


def test_scores_are_those_of_the_formula() -> None:
    first, last = (0.9, -0.2, 0.1), (-0.5, 0.3, 0.8)
    seen = looks(sf.anagram("left", "right", view="flip"))
    found = score(Rows(), picture(first, last), seen)
    p, q = torch.tensor(first).softmax(0), torch.tensor(last).softmax(0)
    assert found.probability[0].tolist() == pytest.approx([float(p[0]), float(q[2])])
    assert found.alignment.item() == pytest.approx(min(float(p[0]), float(q[2])))
    told = [float(p[0] / (p[0] + p[2])), float(q[2] / (q[0] + q[2]))]
    assert found.concealment.item() == pytest.approx(sum(told) / 2)
    assert found.rank[0].tolist() == [1, 1]


def test_a_picture_that_shows_both_at_once_conceals_nothing() -> None:
    both = (1.0, -1.0, 1.0)
    found = score(Rows(), picture(both, both), looks(sf.anagram("left", "right", view="flip")))
    assert found.concealment.item() == pytest.approx(0.5)  # chance


def test_several_classes_that_a_prompt_may_mean() -> None:
    read = torch.tensor([[0.2, 0.5, 0.3]]).log()
    side = frozenset({0, 2})
    assert log_probability(read, side).exp().item() == pytest.approx(0.5)
    assert ranks(read, side).item() == 2  # the best of them comes second
    assert score(Rows(), picture((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)), [Look(text="side")]).rank.item() == 1


def test_the_best_is_the_one_whose_weaker_reading_is_best() -> None:
    one_good = picture((1.0, -1.0, -1.0), (1.0, -1.0, -1.0))
    both_fair = picture((0.5, -0.5, -0.5), (-0.5, -0.5, 0.5))
    both_bad = picture((-1.0, 1.0, -1.0), (-1.0, 1.0, -1.0))
    made = torch.cat([one_good, both_bad, both_fair])
    rows, scores = pick_best(Rows(), made, sf.anagram("left", "right", view="flip"), keep=2)
    assert rows[0] == 2
    assert len(rows) == 2
    assert scores.alignment.argmax() == 2
    assert scores.alignment[rows[1]] >= scores.alignment[1 if rows[1] == 0 else 0]


def test_bad_choices_are_refused() -> None:
    made = picture((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    for keep in (0, 2):
        with pytest.raises(UsageError, match=f"keep {keep}"):
            pick_best(Rows(), made, sf.prompt("left"), keep=keep)
    with pytest.raises(UsageError, match="up"):
        pick_best(Rows(), made, sf.prompt("up"))

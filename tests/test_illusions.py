"""How illusions are looked at and scored, against a reader whose answers are known."""

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.core.views import make_view
from sfumato.errors import UsageError
from sfumato.evaluation.illusions import Distant, Look, looks, pick_best, score
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
        Look(text="a", steps=(Distant(2),)),
        Look(text="b", hidden=((Distant(2),),)),
    )
    assert looks(sf.hybrid(far="a", middle="b", near="c", sigma=(4, 1))) == (
        Look(text="a", steps=(Distant(4),)),
        Look(text="b", steps=(Distant(1),), hidden=((Distant(4), Distant(1)),)),
        Look(text="c", hidden=((Distant(1),),)),
    )


def test_nested_looks_go_from_the_outside_in() -> None:
    """seen(V) of low_pass(G) is V^T G D(V x): the picture is turned first and blurred then."""
    nested = sf.hybrid(far="a", near="b").seen("flip")
    flip = make_view("flip")
    far, near = looks(nested)
    assert far.steps == (flip, Distant(2))
    assert (near.steps, near.hidden) == ((flip,), ((flip, Distant(2)),))
    (turned,) = looks(sf.prompt("a").seen("flip").high_pass(2))
    assert (turned.steps, turned.hidden) == ((flip,), ((Distant(2), flip),))


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


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (128, 192)])
@pytest.mark.parametrize("sigma", [0.5, 2, 5])
def test_a_distance_keeps_what_is_coarse_and_takes_what_is_fine(size: tuple[int, int], sigma: float) -> None:
    height, width = size
    plain = torch.full((1, 3, height, width), 0.7)
    torch.testing.assert_close(Distant(sigma).forward(plain), plain)
    finest = (torch.arange(height) % 2 * 2.0 - 1)[:, None].expand(1, 1, height, width)
    if sigma * height / 64 >= 1:
        assert Distant(sigma).forward(finest)[..., 4:-4, :].abs().max() < 0.1
    slope = torch.linspace(-1, 1, height)[:, None].expand(1, 1, height, width)
    edge = 4 * round(sigma * height / 64 + 1)
    found = Distant(sigma).forward(slope)[..., edge:-edge, :]
    torch.testing.assert_close(found, slope[..., edge:-edge, :], rtol=0, atol=0.1)
    assert Look(text="a").at(torch.randn(1, 3, 16, 16) * 3).abs().max() <= 1


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


def test_of_equal_weakest_readings_the_larger_product_wins() -> None:
    fair, good = (0.0, 0.0, 0.0), (3.0, 0.0, 0.0)
    made = torch.cat([picture(fair, fair), picture(good, fair), picture(fair, fair)])
    rows, scores = pick_best(Rows(), made, sf.anagram("left", "right", view="flip"), keep=3)
    assert rows == [1, 0, 2]
    assert len(set(scores.alignment.tolist())) == 1


def test_a_picture_works_when_each_reading_is_as_likely_as_not() -> None:
    sure, torn = (9.0, 0.0, 0.0), (0.0, 0.0, 0.1)
    also = (0.0, 0.0, 9.0)
    made = torch.cat([picture(sure, also), picture(sure, torn)])
    assert score(Rows(), made, looks(sf.anagram("left", "right", view="flip"))).works.tolist() == [
        True,
        False,
    ]


# -- hybrids, read by an oracle: waves have known amplitudes, and a Gaussian's effect on them is known, too

SIDE, COARSE, FINE = 64, 2, 24  # half periods of a wave across the picture
SEEN = 0.3  # the least amplitude that the oracle sees


def wave(half_periods: int) -> Tensor:
    """(1, 1, S, S), an eigenvector of the Gaussian blur."""
    row = torch.cos(torch.pi * half_periods / SIDE * (torch.arange(SIDE) + 0.5))
    return row.expand(1, 1, SIDE, SIDE)


class Waves:
    """Answers "coarse", "fine" or none by which wave is stronger, each only where it is there at all."""

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        strong = [2 * (pictures * wave(k)).mean((1, 2, 3)) for k in (COARSE, FINE)]
        levels = torch.stack([*strong, torch.full_like(strong[0], SEEN)], dim=1)
        return (100 * levels).log_softmax(1)

    def meaning(self, text: str) -> frozenset[int]:
        return frozenset({["coarse", "fine"].index(text)})


def probabilities(x: Tensor, expression: sf.Expression) -> list[float]:
    return score(Waves(), x, looks(expression)).probability[0].tolist()


def test_the_far_reading_is_what_is_seen_from_afar_and_the_near_one_what_is_seen_as_it_is() -> None:
    expression = sf.hybrid(far="coarse", near="fine", sigma=3)
    found = score(Waves(), 0.4 * wave(COARSE) + 0.6 * wave(FINE), looks(expression))
    assert found.probability[0].tolist() == pytest.approx([1, 1], abs=0.03)
    assert found.works.tolist() == [True]


def test_a_near_subject_that_a_high_pass_alone_would_show_does_not_count() -> None:
    """What is near is there, as a high pass would show, but from near the far one outweighs it."""
    x = 0.6 * wave(COARSE) + 0.4 * wave(FINE)
    far, near = probabilities(x, sf.hybrid(far="coarse", near="fine", sigma=3))
    assert far > 0.97
    assert near < 0.03


def test_a_near_subject_that_is_seen_from_afar_does_not_count() -> None:
    far, near = probabilities(0.8 * wave(COARSE), sf.hybrid(far="fine", near="coarse", sigma=3))
    assert (far, near) == pytest.approx((0, 0), abs=1e-3)
    (upright,) = probabilities(0.8 * wave(COARSE), sf.prompt("coarse"))
    assert upright > 0.97


def test_a_far_subject_that_only_the_whole_picture_shows_does_not_count() -> None:
    far, near = probabilities(0.8 * wave(FINE), sf.hybrid(far="fine", near="fine", sigma=3))
    assert far < 0.01
    assert near > 0.97


def test_each_look_of_an_anagram_is_judged_as_it_is() -> None:
    left = wave(1)  # the other sign when it is mirrored

    class Sides:
        def log_probabilities(self, pictures: Tensor) -> Tensor:
            level = (pictures * left).mean((1, 2, 3))
            return (40 * torch.stack([level, -level], dim=1)).log_softmax(1)

        def meaning(self, text: str) -> frozenset[int]:
            return frozenset({["left", "right"].index(text)})

    seen = looks(sf.anagram("left", "right", view="mirror"))
    found = score(Sides(), torch.cat([left, -left]), seen)
    assert found.works.tolist() == [True, False]
    assert found.alignment.tolist() == pytest.approx([1, 0], abs=1e-3)


def test_bad_choices_are_refused() -> None:
    made = picture((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    for keep in (0, 2):
        with pytest.raises(UsageError, match=f"keep {keep}"):
            pick_best(Rows(), made, sf.prompt("left"), keep=keep)
    with pytest.raises(UsageError, match="up"):
        pick_best(Rows(), made, sf.prompt("up"))

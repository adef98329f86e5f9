"""Pictures that show nothing, made of those that show something: their labels are right by construction."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tools import generated, negatives
from tools.emoji_examples import SHARES, Examples
from tools.generated import Generated, generate, load_generated
from tools.negatives import CLEAR, TURNS, blended, cropped, difference, hybrid, ink, moves_of, turned
from torch import Tensor

import sfumato as sf
from sfumato.core.filters import HighPass, LowPass
from sfumato.training.data import to_house_range
from sfumato.training.emoji import Concept, EmojiDataset

SIDE = 32
WHITE, BLACK = 255, 0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(top: int, left: int, height: int, width: int) -> Tensor:
    """A black rectangle on white, uint8 (3, S, S), in 32nds."""
    x = torch.full((3, SIDE, SIDE), WHITE, dtype=torch.uint8)
    x[:, top : top + height, left : left + width] = BLACK
    return x


def of_squares(pictures: list[Tensor], concept: list[int]) -> EmojiDataset:
    """A data set of one style."""
    return EmojiDataset(
        pictures=torch.stack(pictures),
        concept=torch.tensor(concept),
        style=torch.zeros(len(pictures), dtype=torch.int64),
        concepts=tuple(
            Concept(label=f"thing {row}", keywords=(), group="objects", subgroup="tools", hexcode="")
            for row in range(max(concept) + 1)
        ),
        styles=("plain",),
    )


MIDDLE = drawn(8, 8, 16, 16)  # the same after every turn
ABOVE = drawn(2, 8, 10, 16)
BELOW = drawn(20, 8, 10, 16)  # ABOVE after half a turn
LEFT = drawn(8, 2, 16, 10)  # ABOVE after a quarter turn; its mirror image is to the right
POLE = drawn(2, 12, 28, 8)  # the same after half a turn
CORNER = drawn(2, 2, 10, 10)  # none of its turns is there, but for those across
HALF, QUARTER = range(len(TURNS))


def test_the_difference_is_a_share_of_the_ink() -> None:
    x = to_house_range(torch.stack([MIDDLE, ABOVE, BELOW, drawn(0, 0, 0, 0)]))
    middle, above, below, nothing = ink(x)
    assert difference(middle, middle) == 0
    assert difference(above, below) == 1
    assert difference(middle, nothing) == 1
    assert difference(nothing, nothing) == 0
    assert difference(middle, above) == pytest.approx((16 * 12 + 16 * 6) / (16 * 16 + 16 * 10), abs=0.02)


def test_a_turned_picture_shows_nothing_only_where_it_differs() -> None:
    """A ball is a ball after any turn, a pole after half a turn; what points up points elsewhere."""
    found = moves_of(of_squares([MIDDLE, POLE, ABOVE], [0, 1, 2])).turned
    assert found.tolist() == [[False, False], [False, True], [True, True]]


def test_a_turned_picture_that_is_another_picture_of_its_concept_shows_it_still() -> None:
    found = moves_of(of_squares([ABOVE, BELOW, MIDDLE], [0, 0, 1])).turned
    assert found[:2, HALF].tolist() == [False, False]


def test_a_turned_picture_that_is_another_concept_is_no_failure() -> None:
    """As "thumbs up" turned is "thumbs down"; a quarter turn of both is neither."""
    found = moves_of(of_squares([ABOVE, BELOW, MIDDLE], [0, 1, 2])).turned
    assert found[:2].tolist() == [[False, True], [False, True]]
    assert not moves_of(of_squares([ABOVE, LEFT, MIDDLE], [0, 1, 2])).turned[0, QUARTER]


def test_a_turn_must_lead_away_from_the_concepts_other_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lies across, and its other pictures stand: turned, it is nearer to them than upright."""
    lying, standing = drawn(13, 4, 6, 24), drawn(3, 14, 26, 4)
    data = of_squares([lying, standing, MIDDLE], [0, 0, 1])
    assert not moves_of(data).turned[0, QUARTER]
    monkeypatch.setattr(negatives, "FARTHER", 0.0)
    monkeypatch.setattr(negatives, "CLEAR", 0.2)
    assert moves_of(data).turned[0, QUARTER]


def test_mirror_images_keep_their_label_but_for_twins() -> None:
    right = LEFT.flip(-1)
    assert moves_of(of_squares([LEFT, right, ABOVE], [0, 1, 2])).mirrored.tolist() == [False, False, True]
    assert moves_of(of_squares([LEFT, ABOVE], [0, 1])).mirrored.tolist() == [True, True]


# -- each way


def test_turns_are_those_of_their_kind() -> None:
    x = torch.rand(40, 3, 8, 8)
    kind = torch.arange(40) % 2
    made = turned(x, kind, generator())
    for row, turns in ((0, TURNS["half"]), (1, TURNS["quarter"])):
        which = {
            next(i for i, move in enumerate(turns) if torch.equal(move(x[k : k + 1])[0], made[k]))
            for k in range(row, 40, 2)
        }
        assert which == {0, 1}


def test_blends_have_as_much_of_both() -> None:
    x, other = torch.zeros(200, 1, 4, 4), torch.ones(200, 1, 4, 4)
    share = blended(x, other, generator()).mean((1, 2, 3))
    assert 0.4 <= share.min() < share.max() <= 0.6
    corner = torch.zeros(200, 1, 4, 4)
    corner[:, :, 0, 1] = 1
    made = blended(x, corner, generator()) > 0
    assert made[:, 0, 0, 1].double().mean() == pytest.approx(0.5, abs=0.15)  # half are not turned


def test_a_hybrid_shows_the_near_one_where_it_is_strong() -> None:
    """Of a flat picture nothing is near; a flat one has nothing to hide what is near."""
    sharp = to_house_range(torch.stack([POLE] * 6))
    flat = torch.zeros_like(sharp)
    made, shows_near = hybrid(sharp, flat, generator())
    assert shows_near.all()
    torch.testing.assert_close(made, made.clamp(-1, 1))
    made, shows_near = hybrid(flat, sharp, generator())
    assert not shows_near.any()
    assert (made - sharp).abs().mean() > 0.05  # blurred
    same, _ = hybrid(sharp, sharp, generator())
    torch.testing.assert_close(same, sharp, rtol=0, atol=1e-5)
    assert (LowPass(3).apply(sharp) + HighPass(3).apply(sharp) - sharp).abs().max() < 1e-5


def test_crops_are_small_parts() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(100, 3, 64, 64)
    made = cropped(ramp, generator())
    seen = (made.amax((1, 2, 3)) - made.amin((1, 2, 3))) / 2
    assert 0.2 < seen.min() < seen.max() < 0.46
    assert made.shape == ramp.shape


# -- the examples


@pytest.fixture
def examples() -> Examples:
    data = of_squares([MIDDLE, POLE, ABOVE, CORNER], [0, 1, 2, 3])
    made = Generated(
        failures=torch.full((5, 3, SIDE, SIDE), 128, dtype=torch.uint8),
        plain=torch.stack([ABOVE, MIDDLE]),
        concept=torch.tensor([2, 0]),
    )
    return Examples(data=data, moves=moves_of(data), generated=made)


def test_none_is_the_class_after_the_concepts(examples: Examples) -> None:
    assert (len(examples), examples.none) == (6, 4)
    assert examples.concept.tolist() == [0, 1, 2, 3, 2, 0]


@pytest.mark.parametrize("name", SHARES)
def test_what_is_spoiled_is_none_and_what_is_not_keeps_its_class(examples: Examples, name: str) -> None:
    rows = torch.arange(6).repeat(20)
    x = examples.upright(rows, generator())
    before = x.clone()
    made, y = examples.spoiled(name, rows, x, generator(1))
    assert torch.equal(x, before)
    assert made.shape == x.shape
    kept = y != examples.none
    assert torch.equal(y[kept], examples.concept[rows][kept])
    if name != "hybrid":  # which may show its near part
        assert torch.equal(made[kept], x[kept])
    assert (made[~kept] - x[~kept]).flatten(1).abs().amax(1).min() > 0.01
    if name in ("failed", "cropped"):
        assert not kept.any()
    if name == "turned":
        assert kept.tolist() == [row in (0, 4, 5) for row in rows.tolist()]  # POLE is turned by a quarter
        poles = made[rows == 1]
        assert torch.equal(poles, x[rows == 1].rot90(1, (-2, -1)))


def test_a_picture_is_not_mixed_with_its_like(examples: Examples) -> None:
    data = of_squares([MIDDLE, drawn(8, 8, 16, 17)], [0, 1])
    assert difference(*ink(to_house_range(data.pictures))) < CLEAR
    also = replace(examples.generated, plain=data.pictures, concept=data.concept)
    alike = Examples(data=data, moves=moves_of(data), generated=also)
    rows = torch.tensor([0, 1] * 20)
    x = alike.upright(rows, generator())
    for name in ("blended", "hybrid"):
        made, y = alike.spoiled(name, rows, x, generator())
        assert torch.equal(made, x), name
        assert torch.equal(y, rows), name


def test_about_a_quarter_is_tried_and_it_follows_from_the_generator(examples: Examples) -> None:
    rows = torch.arange(6).repeat(500)
    x, y = examples.draw(rows, generator())
    again, same = examples.draw(rows, generator())
    assert torch.equal(x, again)
    assert torch.equal(y, same)
    tried = torch.bincount(examples.ways(20_000, generator()), minlength=len(SHARES) + 1) / 20_000
    assert tried[:-1].tolist() == pytest.approx(list(SHARES.values()), abs=0.01)
    assert 0.15 < (y == examples.none).double().mean() < sum(SHARES.values())


# -- what the model draws


def test_failures_are_of_two_concepts_and_plain_drawings_of_one() -> None:
    concepts = of_squares([MIDDLE] * 3, [0, 1, 2]).concepts
    concepts = (*concepts, replace(concepts[0], label="shadow", group="silhouettes"))
    asked: list[tuple[sf.Expression, int]] = []

    def draw(expressions: Sequence[sf.Expression], steps: int, _: int) -> Tensor:
        asked.extend((e, steps) for e in expressions)
        return torch.zeros(len(expressions), 3, 8, 8)

    made = generate(draw, concepts, failures=40, plain=10)
    assert (len(made.failures), len(made.plain), len(made.concept)) == (40, 10, 10)
    pairs = [(one, other) for one in range(3) for other in range(3) if one != other]
    allowed = [sf.mean(*(sf.prompt(concepts[row].label) for row in pair)).guided(1) for pair in pairs]
    assert all(e in allowed and 4 <= steps <= 7 for e, steps in asked[:40])
    wanted = [sf.prompt(concepts[row].label).guided(4) for row in made.concept.tolist()]
    assert [e for e, _ in asked[40:]] == wanted


def test_drawings_are_kept_and_drawn_again_for_other_concepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path))
    drawn_for: list[int] = []

    def fake(_: object, concepts: tuple[Concept, ...]) -> Generated:
        drawn_for.append(len(concepts))
        picture = torch.full((2, 3, 8, 8), len(concepts), dtype=torch.uint8)
        return Generated(failures=picture, plain=picture.clone(), concept=torch.zeros(2).long())

    monkeypatch.setattr(generated, "generate", fake)
    concepts = of_squares([MIDDLE] * 3, [0, 1, 2]).concepts
    first, second = load_generated(concepts), load_generated(concepts)
    assert torch.equal(first.failures, second.failures)
    assert load_generated(concepts[:2]).failures.unique().tolist() == [2]
    assert drawn_for == [3, 2]

"""Scenes: icons composed into pictures, and captions that are true of them."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sfumato.evaluation.emoji import load_emoji_judge
from sfumato.models.text.phrasing import COMMON, commonly, things
from sfumato.training.emoji import Concept, EmojiDataset, scenes
from sfumato.training.emoji.scenes import COLOURS, Scene, Scenes, held_out_scenes, plural, recoloured

SIDE = 64
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "apple": lambda x, y: x**2 + y**2 < 0.7,
    "boat": lambda x, y: (abs(x) < 0.8) & (abs(y) < 0.4),
}
INK = {"apple": (200, 30, 30), "boat": (40, 60, 200)}


def data() -> EmojiDataset:
    """A red disc and a blue bar, in one style."""
    at = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    pictures = np.full((2, SIDE, SIDE, 3), 255, dtype=np.uint8)
    for picture, name in zip(pictures, SHAPES, strict=True):
        picture[SHAPES[name](at[None, :], at[:, None])] = INK[name]
    return EmojiDataset(
        pictures=torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(),
        concept=torch.tensor([0, 1]),
        style=torch.tensor([0, 0]),
        concepts=tuple(
            Concept(label=name, keywords=(), group="objects", subgroup="tool", hexcode="") for name in SHAPES
        ),
        styles=("flat",),
    )


@pytest.fixture(scope="module")
def composed() -> list[Scene]:
    """A hundred of them, none held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "held_out_scenes", lambda: ())
        made = Scenes(data())
    return [made.of(number) for number in range(150)]


def connected(inside: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The ink that touches what is inside, and that itself."""
    padded = np.pad(inside, 1)
    touching = [np.roll(padded, step, axis)[1:-1, 1:-1] for step in (-1, 1) for axis in (0, 1)]
    return ink & np.logical_or.reduce([inside, *touching])


def parts(scene: Scene) -> list[tuple[float, float, int, tuple[int, ...]]]:
    """What lies apart in a picture: its middle right and down, its pixels, its colour."""
    left, found = scene.picture.min(2) < 200, []
    while left.any():
        inside = np.zeros_like(left)
        inside[np.unravel_index(left.argmax(), left.shape)] = True
        grown = connected(inside, left)
        while (grown != inside).any():
            inside, grown = grown, connected(grown, left)
        left = left & ~inside
        y, x = (float(index.mean()) for index in np.nonzero(inside))
        found.append((x, y, int(inside.sum()), tuple(np.median(scene.picture[inside], axis=0).astype(int))))
    return [part for part in found if part[2] > 12]


def test_a_scene_follows_from_its_number(composed: list[Scene]) -> None:
    again = Scenes(data()).of(3)
    if not any(word in composed[3].caption for word in ("blue apple", "apples")):
        assert again.caption == composed[3].caption
        assert np.array_equal(again.picture, composed[3].picture)
    assert len({scene.caption for scene in composed}) > 50


def test_there_are_as_many_as_the_caption_says(composed: list[Scene]) -> None:
    seen = 0
    for scene in composed:
        for count, word in ((2, "two"), (3, "three")):
            if re.search(rf"\b{word}\b", scene.caption):
                assert len(parts(scene)) == count, scene.caption
                seen += 1
    assert seen > 15


def test_it_has_the_colour_that_the_caption_says(composed: list[Scene]) -> None:
    seen = set()
    for scene in composed:
        told = re.search(rf"\b({'|'.join(COLOURS)}) (apple|boat)\b", scene.caption)
        if told is None or " and " in scene.caption or len(parts(scene)) != 1:
            continue
        colour = parts(scene)[0][3] if told[1] != "white" else COLOURS["white"]
        assert np.abs(np.subtract(colour, COLOURS[told[1]])).max() < 12, scene.caption
        seen.add(told[1])
    assert len(seen) > 5


def test_left_right_above_below_and_large(composed: list[Scene]) -> None:
    seen = 0
    for scene in composed:
        words = re.sub(r"\b(next to|on top of)\b", "on", scene.caption)
        asked = re.search(
            r"an? (large |small )?(apple|boat) (and|above|on|under|below|(?:to the )?(?:left|right) of) "
            r"an? (?:large |small )?(apple|boat)",
            words,
        )
        found = parts(scene)
        if asked is None or len(found) != 2:
            continue
        (one,) = [part for part in found if (part[3][0] > part[3][2]) == (asked[2] == "apple")]
        (other,) = [part for part in found if part is not one]
        if asked[1] is not None:
            assert (one[2] > other[2]) == (asked[1] == "large "), scene.caption
        elif "left" in asked[3] or "right" in asked[3]:
            assert (one[0] < other[0]) == ("left" in asked[3]), scene.caption
        elif asked[3] in ("above", "under", "below"):
            assert (one[1] < other[1]) == (asked[3] == "above"), scene.caption
        else:
            continue
        seen += 1
    assert seen > 10


def test_what_is_held_out_is_never_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        scenes, "held_out_scenes", lambda: ("a blue apple", "two boats", "a red boat and an apple")
    )
    made = [Scenes(data()).of(number).caption for number in range(60)]
    assert all("blue apple" not in caption and "two boats" not in caption for caption in made)
    assert not any("apple" in caption and "red boat" in caption for caption in made)
    assert len(set(made)) > 20


def test_ninety_scenes_are_held_out_and_pairs_are_understood_as_two_things() -> None:
    held_out = held_out_scenes()
    assert len(set(held_out)) == len(held_out) == 90
    assert all(re.search(rf"\b({'|'.join(COLOURS)})\b", caption) for caption in held_out[:50])
    for caption in held_out[50:]:
        assert len(things(caption)) == (1 if caption.startswith(("two ", "three ")) else 2), caption


# -- what they are made of


def test_the_shades_of_what_is_coloured_anew_stay_and_all_else_stays() -> None:
    rgb = np.ones((20, 20, 3), dtype=np.float32)
    rgb[2:18, 2:10], rgb[2:18, 10:18] = (0.9, 0.2, 0.2), (0.6, 0.1, 0.1)
    rgb[5:7, 5:7] = 0.05  # an eye
    ink = recoloured(1 - rgb, COLOURS["blue"])
    assert ink is not None
    blue = 1 - ink
    assert np.allclose(blue[0], 1)
    assert np.allclose(blue[5, 5], 0.05, atol=0.02)
    for x in (3, 15):
        assert blue[10, x].argmax() == 2
    assert blue[10, 3].sum() > blue[10, 15].sum() + 0.2


def test_a_picture_of_many_small_colours_is_not_coloured_anew() -> None:
    rgb = np.ones((20, 20, 3), dtype=np.float32)
    for i, colour in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))):
        rgb[3 * i : 3 * i + 3] = colour
    assert recoloured(1 - rgb, COLOURS["red"]) is None
    assert recoloured(np.zeros((8, 8, 3), dtype=np.float32), COLOURS["red"]) is None


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("apple", "apples"),
        ("cherry", "cherries"),
        ("monkey", "monkeys"),
        ("bus", "buses"),
        ("fox", "foxes"),
        ("maple leaf", "maple leaves"),
        ("snowman", "snowmen"),
        ("mouse", "mice"),
        ("wolf", "wolves"),
        ("toothbrush", "toothbrushes"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("a cat and a dog", ("cat", "a dog")),
        ("a drawing of a cat to the left of two dogs on a white background", ("cat", "two dogs")),
        ("a cat on top of a red car", ("cat", "a red car")),
        ("an old man and people around a campfire", ("old man and people", "a campfire")),
        ("a blue apple", ("a blue apple",)),
        ("fork and knife", ("fork and knife",)),
        (
            "an oil painting of a rocket on a white background",
            ("an oil painting of a rocket on a white background",),
        ),
        ("", ("",)),
    ],
)
def test_the_things_that_a_prompt_asks_for(text: str, asked: tuple[str, ...]) -> None:
    assert things(text) == asked


def test_a_bare_word_that_many_concepts_share_means_one_that_there_is() -> None:
    labels = {concept.label for concept in load_emoji_judge().concepts}
    assert set(COMMON.values()) <= labels
    assert commonly("a Flower") == COMMON["flower"]
    assert commonly("a picture of a tree") == COMMON["tree"]
    for text in ("a blue flower", "a flower pot", "a rocket", ""):
        assert commonly(text) == text

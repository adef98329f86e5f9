"""The emoji data set: which concepts, what pictures, which words."""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import resvg_py
import torch

from sfumato.errors import SfumatoError, UsageError
from sfumato.training import packages
from sfumato.training.download import Collection, ExpectedFile, FileSource
from sfumato.training.emoji import (
    DRAWS,
    Captions,
    Concept,
    EmojiDataset,
    dataset,
    held_out_wordings,
    load_emoji,
)
from sfumato.training.emoji.concepts import read_concepts
from sfumato.training.emoji.icons import Icon, IconSet
from sfumato.training.emoji.render import render
from sfumato.training.emoji.sources import MORE_STYLES, NAMES, SILHOUETTE, STYLES, Style
from sfumato.training.emoji.wordings import stems
from toy_emoji import toy_emoji, toy_files, toy_more

SQUARE = '<path fill="{}" d="M0 0h4v4h-4z"/>'


def icon_set(icons: dict[str, object], aliases: dict[str, object], **chars: str) -> IconSet:
    content = {"icons": icons, "aliases": aliases, "width": 8, "height": 8}
    return IconSet(json.dumps(content).encode(), json.dumps(chars).encode())


def concept(label: str, *keywords: str, hexcode: str = "1F600") -> Concept:
    return Concept(label=label, keywords=keywords, group="objects", subgroup="tool", hexcode=hexcode)


def colours(picture: torch.Tensor) -> Counter[tuple[int, ...]]:
    return Counter(map(tuple, picture.flatten(1).T.tolist()))


# -- which concepts


def test_concepts_are_things_and_nothing_twice() -> None:
    names, _ = toy_files()
    labels = [found.label for found in read_concepts(*names)]
    assert "red circle" in labels
    assert "astronaut" in labels
    assert "bald person" in labels  # "person: bald", as one says it
    for left_out in ("flag: Japan", "keycap: 1", "regional indicator A", "woman astronaut"):
        assert left_out not in labels


def test_a_concept_of_one_style_is_left_out() -> None:
    names, styles = toy_files()
    assert "leafless tree" in [found.label for found in read_concepts(*names)]
    two = {name: styles[name] for name in ("twemoji", "noto")}
    assert "leafless tree" in [found.label for found in dataset.build(names, two, side=16).concepts]
    one = {name: styles[name] for name in ("twemoji", "flat")}
    assert "leafless tree" not in [found.label for found in dataset.build(names, one, side=16).concepts]


@pytest.mark.parametrize("content", [b"", b"[]", b"[1]", b'[{"group": 0}]', b"\xff"])
def test_names_that_are_none(content: bytes) -> None:
    with pytest.raises(SfumatoError, match="emojibase"):
        read_concepts(content, content)


# -- icons


def test_aliases_are_followed_and_moved() -> None:
    icons = {"corner": {"body": SQUARE.format("red")}}
    aliases = {
        "same": {"parent": "corner"},
        "across": {"parent": "same", "hFlip": True},
        "down": {"parent": "corner", "vFlip": True},
        "turned": {"parent": "across", "rotate": 1},
        "lost": {"parent": "nothing"},
        "snake": {"parent": "tail"},
        "tail": {"parent": "snake"},
    }
    found = icon_set(icons, aliases)

    def corner(name: str) -> tuple[int, int]:
        """Where the red is, seen in its whole box: a clear frame holds the drawing in its place."""
        icon = found.by_name(name)
        assert icon is not None
        frame = '<path fill="none" stroke="blue" stroke-width=".5" d="M0 0h8v8h-8z"/>'
        picture = render(Icon(body=frame + icon.body, left=0, top=0, width=8, height=8), 32)
        red = (picture[0] > 200) & (picture[1] < 60) & (picture[2] < 60)
        rows, columns = red.nonzero(as_tuple=True)
        return int(rows.float().mean() > 16), int(columns.float().mean() > 16)

    assert corner("corner") == corner("same") == (0, 0)
    assert corner("across") == (0, 1)
    assert corner("down") == (1, 0)
    assert corner("turned") == (1, 1)  # a quarter turn clockwise of what lies top right
    assert found.by_name("lost") is None
    assert found.by_name("snake") is None


def test_an_alias_is_found_by_its_label() -> None:
    data = toy_emoji()
    left, right = (
        next(i for i, c in enumerate(data.concepts) if c.label == f"backhand index pointing {side}")
        for side in ("left", "right")
    )
    flat = data.styles.index("flat")
    pictures = {
        i: data.pictures[(data.concept == i) & (data.style == flat)].float().mean(1) for i in (left, right)
    }
    assert len(pictures[left]) == len(pictures[right]) == 1
    assert (pictures[left] - pictures[right].flip(-1)).abs().mean() < 4
    assert (pictures[left] - pictures[right]).abs().mean() > 12


def test_characters_agree_with_and_without_the_variation_selector() -> None:
    found = icon_set({"heart": {"body": "x"}}, {}, **{"2764-fe0f": "heart"})
    for code in ("2764", "2764-FE0F"):
        assert found.of(code, "some other name") == found.by_name("heart")
    assert found.of("1F600", "no such thing") is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"icons": 1, "width": "x"}', b"[]"])
def test_icons_that_are_none(content: bytes) -> None:
    with pytest.raises(SfumatoError, match="Iconify"):
        IconSet(content, b"{}")


def test_icons_are_found_by_what_their_names_spell() -> None:
    icons = {name: {"body": name} for name in ("bearface", "fox", "fox-face", "fox-2", "firefox", "oxen")}
    found = icon_set(icons, {"bear": {"parent": "bearface"}})
    assert [icon.body for icon in found.spelling("Fox")] == ["fox", "fox-2", "fox-face"]
    assert [icon.body for icon in found.spelling("fox face")] == ["fox-face"]
    assert [icon.body for icon in found.spelling("bear")] == ["bearface"]
    assert found.spelling("ox") == ()


def test_further_styles_and_silhouettes_add_pictures_and_the_silhouettes_concepts() -> None:
    names, styles = toy_files()
    plain, whole = toy_emoji(), everything()
    assert whole.styles == (*plain.styles, "line", "silhouette")
    assert torch.equal(whole.pictures[: len(plain)], plain.pictures)
    assert whole.concepts[: len(plain.concepts)] == plain.concepts
    (added,) = whole.concepts[len(plain.concepts) :]
    assert (added.label, added.group, added.keywords) == ("keycap 1", dataset.GROUP, ())
    flat, line = (whole.pictures[whole.style == i] for i in (2, 3))
    assert torch.equal(flat, line)  # the same icons, found by name
    labels = [whole.concepts[row].label for row in whole.concept[whole.style == 4].tolist()]
    assert labels == ["ghost", "keycap 1"]
    with pytest.raises(SfumatoError, match="the silhouettes have no icon 'yeti'"):
        dataset.build(names, styles, None, (toy_more()[1][0], "yeti\n"), side=16)


def everything() -> EmojiDataset:
    """The toys with all that a data set may have."""
    return dataset.build(*toy_files(), *toy_more(), side=16)


# -- pictures


@pytest.mark.parametrize("side", [16, 64, 200])
def test_ink_is_centred_within_the_margin(side: int) -> None:
    icon = Icon(body='<path fill="#00f" d="M70 10h20v10h-20z"/>', left=0, top=0, width=100, height=50)
    picture = render(icon, side)
    assert picture.shape == (3, side, side)
    ink = (picture[0] < 128).nonzero()
    (top, left), (bottom, right) = ink.min(0).values.tolist(), ink.max(0).values.tolist()
    assert abs(left - side / 16) <= 1 >= abs(side - 1 - right - side / 16)
    assert abs((right - left + 1) - 2 * (bottom - top + 1)) <= 2  # as wide as it was high, twice
    assert abs(top - (side - 1 - bottom)) <= 1
    assert picture[:, 0].eq(255).all()  # white around


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(SfumatoError, match="ink"):
        render(Icon(body="<g/>", left=0, top=0, width=8, height=8), 16)
    with pytest.raises(SfumatoError, match="drawn: "):
        render(Icon(body="<g>", left=0, top=0, width=8, height=8), 16)


class PanicException(BaseException):
    """What a failure inside resvg is to Python."""


@pytest.mark.parametrize(
    ("failure", "seen", "message"),
    [
        (PanicException("index out of bounds"), SfumatoError, "resvg .*index out"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failure_inside_resvg(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException, seen: type[BaseException], message: str | None
) -> None:
    def fail(**_: object) -> bytes:
        raise failure

    monkeypatch.setattr(resvg_py, "svg_to_bytes", fail)
    with pytest.raises(seen, match=message):
        toy_emoji()


def test_without_resvg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(SfumatoError, match=r"resvg.*sfumato\[train\]"):
        toy_emoji()


def test_the_toys_look_like_their_names() -> None:
    data = toy_emoji()
    assert data.pictures.shape[1:] == (3, 16, 16)
    middle = data.pictures[:, :, 7:9, 7:9].float().mean((2, 3))
    for label, above, below in (("red circle", 0, 2), ("blue square", 2, 0)):
        row = next(i for i, c in enumerate(data.concepts) if c.label == label)
        shown = middle[data.concept == row]
        assert len(shown) == 3
        assert (shown[:, above] > shown[:, below] + 90).all()
    assert data.fingerprint == toy_emoji().fingerprint


def test_fingerprint_knows_pictures_and_words() -> None:
    data = toy_emoji()
    fields = {name: getattr(data, name) for name in ("pictures", "concept", "style", "concepts", "styles")}
    others = [
        EmojiDataset(**{**fields, "pictures": data.pictures.flip(-1)}),
        EmojiDataset(**{**fields, "style": data.style.flip(0)}),
        EmojiDataset(**{**fields, "concepts": (*data.concepts[:-1], concept("other"))}),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pictures": torch.zeros(2, 3, 8, 9, dtype=torch.uint8)}, r"uint8 \(N, 3, S, S\)"),
        ({"pictures": torch.zeros(2, 3, 8, 8)}, r"uint8 \(N, 3, S, S\), not torch.float32"),
        ({"pictures": torch.zeros(0, 3, 8, 8, dtype=torch.uint8)}, "no emoji"),
        ({"concept": torch.zeros(3, dtype=torch.int64)}, r"concept must be int64 \(2,\)"),
        ({"concept": torch.tensor([0, 1])}, r"concept must lie in 0\.\.0"),
        ({"style": torch.tensor([0, -1])}, r"style must lie in 0\.\.1"),
    ],
)
def test_data_that_do_not_fit(changed: dict[str, torch.Tensor], message: str) -> None:
    fields = {
        "pictures": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        "concept": torch.tensor([0, 0]),
        "style": torch.tensor([0, 1]),
    }
    with pytest.raises(UsageError, match=message):
        EmojiDataset(**{**fields, **changed}, concepts=(concept("a"),), styles=("noto", "flat"))


# -- the cache


def served(monkeypatch: pytest.MonkeyPatch, *, damage: str = "") -> list[str]:
    """The sources answer with the toys; answers the list of what they were asked for."""
    (data, messages), styles = toy_files()
    asked: list[str] = []

    def collection(name: str, **files: bytes) -> Collection:
        def read(file: str) -> bytes:
            asked.append(f"{name}/{file}")
            content = files[file.removesuffix(".json")]
            return content[:-1] if damage == f"{name}/{file}" else content

        contents = {
            f"{file}.json": ExpectedFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for file, content in files.items()
        }
        return Collection(name=name, files=contents, sources=(FileSource(title="toys", open=lambda _: read),))

    found = [
        Style(name=name, icons=both, chars=both)
        for name, (icons, chars) in styles.items()
        for both in [collection(name, icons=icons, chars=chars)]
    ]
    more, (silhouettes, table) = toy_more()
    further = [
        Style(name=name, icons=collection(name, icons=icons), chars=None) for name, icons in more.items()
    ]
    drawn = Style(name="silhouette", icons=collection("silhouettes", icons=silhouettes), chars=None)
    monkeypatch.setattr(dataset, "STYLES", tuple(found))
    monkeypatch.setattr(dataset, "MORE_STYLES", tuple(further))
    monkeypatch.setattr(dataset, "SILHOUETTE", drawn)
    monkeypatch.setattr(dataset, "SILHOUETTES", table)
    monkeypatch.setattr(dataset, "NAMES", collection("names", data=data, messages=messages))
    return asked


def test_drawn_once_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = served(monkeypatch)
    heard: list[tuple[int, int]] = []
    data = load_emoji(side=16, cache=tmp_path, on_progress=lambda *at: heard.append(at))
    assert heard == [(i + 1, len(data)) for i in range(len(data))]
    asked.clear()
    again = load_emoji(side=16, cache=tmp_path, on_progress=lambda *_: pytest.fail("drawn twice"))
    assert again.fingerprint == data.fingerprint == everything().fingerprint
    assert load_emoji(side=32, cache=tmp_path).side == 32  # from the same files
    assert not asked


def test_a_damaged_drawing_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch)
    data = load_emoji(side=16, cache=tmp_path)
    (weights,) = tmp_path.glob("datasets/emoji-16-*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert load_emoji(side=16, cache=tmp_path).fingerprint == data.fingerprint
    assert load_emoji(
        side=16, cache=tmp_path, on_progress=lambda *_: pytest.fail("drawn twice")
    ).fingerprint == (data.fingerprint)


def test_a_damaged_download_is_refused_and_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, damage="flat/icons.json")
    with pytest.raises(SfumatoError) as caught:
        load_emoji(side=16, cache=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot get the data set flat; tried the disk (no icons.json in " in message
    assert "toys (icons.json has the wrong checksum)" in message
    assert not list(tmp_path.glob("datasets/emoji-*"))
    assert not (tmp_path / "datasets" / "flat").exists()


@pytest.mark.parametrize("side", [15, 513])
def test_a_side_out_of_range(side: int) -> None:
    with pytest.raises(UsageError, match=rf"{side} .*16\.\.512"):
        load_emoji(side=side)


def test_the_sources_are_pinned_and_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    styles = (*STYLES, *MORE_STYLES, SILHOUETTE)
    collections = [NAMES, *(c for style in styles for c in (style.icons, style.chars) if c is not None)]
    titles = {source.title for collection in collections for source in collection.sources}
    assert all(title.startswith("the npm package ") and "@" in title[17:] for title in titles)
    assert not any(barred in title for title in titles for barred in ("openmoji", "emojione-v1", "/cbi@"))
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    with pytest.raises(
        SfumatoError, match=r"the npm package emojibase-data@17\.0\.0 \(no npm command here\)"
    ):
        load_emoji(cache=tmp_path)


# -- words

TABLE = (
    concept("hamburger", "burger", "burgers", "fast food", "meat"),
    concept("mushroom", "toadstool"),  # nothing else is left: not held out
    concept("fire", "flame", "flames", "hot", "143", "<3"),
    concept("metro", "subway", "train"),
    concept("subway sandwich", "bread", "eat"),  # its label says it: not held out
    concept("leafy green", "burgers", "salad", "plant"),
)


def drawn(table: tuple[Concept, ...], count: int, seed: int = 0) -> list[tuple[int, str]]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(count) % len(table)
    draws = torch.rand(count, DRAWS, generator=generator, dtype=torch.float64).tolist()
    captions = Captions(table)
    return [(row, captions.of(row, numbers)) for row, numbers in zip(rows.tolist(), draws, strict=True)]


def test_held_out_wordings_and_what_they_accept() -> None:
    found = {wording.text: wording for wording in held_out_wordings(TABLE)}
    assert set(found) == {"burger", "flame"}
    assert (found["burger"].concept, found["burger"].accepted) == (0, {0, 5})
    assert (found["flame"].concept, found["flame"].accepted) == (2, {2})
    assert found["flame"].synonym


def test_no_caption_contains_a_held_out_wording_or_its_kin() -> None:
    kept_out = frozenset().union(*(stems(wording.text) for wording in held_out_wordings(TABLE)))
    for _, words in drawn(TABLE, 6000):
        assert not kept_out & stems(words), words
    said = {word for _, words in drawn(TABLE, 6000) for word in stems(words)}
    assert stems("hamburger fast food meat toadstool hot subway salad") <= said
    assert not {"143", "3"} & said


@pytest.mark.parametrize(
    ("one", "other", "kin"),
    [
        ("puppy", "puppies", True),
        ("burger", "burgers", True),
        ("spoon", "spool", False),
        ("present", "presence", False),
        ("bus", "buses", True),
    ],
)
def test_kin(one: str, other: str, kin: bool) -> None:
    assert (stems(one) == stems(other)) is kin


def test_captions_follow_from_the_numbers_alone() -> None:
    assert drawn(TABLE, 200) == drawn(TABLE, 200)
    assert drawn(TABLE, 200) != drawn(TABLE, 200, seed=1)
    assert drawn(TABLE, 200)[:50] == drawn(TABLE, 50)  # rows do not depend on one another


def test_captions_vary_and_stay_with_their_concept() -> None:
    found = drawn(TABLE, 6000)
    of_fire = [words for row, words in found if row == 2]
    assert len(set(of_fire)) > 100
    assert of_fire.count("fire") > 50
    assert any("an oil painting of" in words for words in of_fire)
    assert any("on a white background" in words for words in of_fire)
    own = [frozenset().union(*map(stems, (c.label, *c.keywords))) for c in TABLE]
    for row, words in found:
        assert own[row] & stems(words), words


@pytest.mark.parametrize("corner", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval(corner: float) -> None:
    captions = Captions(TABLE)
    for row in range(len(TABLE)):
        assert captions.of(row, [corner] * DRAWS)

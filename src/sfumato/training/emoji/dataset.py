"""The data set of emoji: drawn once, kept in the cache, held whole in memory as bytes.

Contract: pictures are uint8 (N, 3, S, S) at rest and float32 in [-1, 1] wherever mathematics is done
(`to_house_range`); row i shows concept `concept[i]` in style `style[i]`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.cache import cache_folder
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.files.store import read_folder, write_folder
from sfumato.training.data import digest_of
from sfumato.training.download import Collection, fetch
from sfumato.training.emoji.concepts import Concept, read_concepts
from sfumato.training.emoji.icons import Icon, IconSet
from sfumato.training.emoji.render import render
from sfumato.training.emoji.sources import MORE_STYLES, NAMES, SILHOUETTE, SILHOUETTES, STYLES

SIDE = 64
SIDES = (16, 512)
_LEAST_STYLES = 2  # a concept drawn in fewer is left out
GROUP = "silhouettes"  # of the concepts that no emoji shows
COLOURLESS = ("line", "silhouette")  # styles
_FORMAT = 2  # to be raised when concepts are chosen or icons are drawn otherwise

Progress = Callable[[int, int], None]  # hears (pictures drawn, pictures in all)


@dataclass(frozen=True, kw_only=True, eq=False)
class EmojiDataset:
    """Emoji in several styles: `pictures` uint8 (N, 3, S, S), `concept` and `style` int64 (N,)."""

    pictures: Tensor
    concept: Tensor
    style: Tensor
    concepts: tuple[Concept, ...]
    styles: tuple[str, ...]

    def __post_init__(self) -> None:
        count, shape = len(self.pictures), tuple(self.pictures.shape)
        if self.pictures.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise UsageError(f"emoji must be uint8 (N, 3, S, S), not {self.pictures.dtype} {shape}")
        if count == 0:
            raise UsageError("no emoji")
        for name, rows, names in (
            ("concept", self.concept, self.concepts),
            ("style", self.style, self.styles),
        ):
            if rows.shape != (count,) or rows.dtype != torch.int64:
                raise UsageError(f"{name} must be int64 ({count},), not {rows.dtype} {tuple(rows.shape)}")
            if not 0 <= int(rows.min()) <= int(rows.max()) < len(names):
                raise UsageError(f"{name} must lie in 0..{len(names) - 1}")

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def side(self) -> int:
        """Pixels on a side."""
        return int(self.pictures.shape[-1])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of pictures and of what they show, by which a checkpoint knows its data again."""
        table = json.dumps([self.styles, concepts_to_json(self.concepts)])
        return digest_of(self.pictures, self.concept, self.style, text=table)


def load_emoji(
    *, side: int = SIDE, cache: Path | None = None, on_progress: Progress | None = None
) -> EmojiDataset:
    """The data set, from the cache; at first use fetched and drawn into it, which takes minutes.

    Args:
        side: pixels on a side, 16 to 512.
        cache: another folder than `cache_folder()`.
        on_progress: hears (pictures drawn, pictures in all) while they are drawn.

    Raises:
        UsageError: a side out of range.
        SfumatoError: no source could be reached, the message says what to do by hand; or resvg is missing.
    """
    low, high = SIDES
    if not low <= side <= high:
        raise UsageError(f"emoji of {side} pixels: the side must lie in {low}..{high}")
    folder = (cache or cache_folder()) / "datasets" / f"emoji-{side}-{_recipe()[:12]}"
    try:
        return _read(folder)
    except SfumatoError:  # never drawn, or damaged
        pass
    data = _drawn(cache, side, on_progress)
    _write(folder, data)
    return data


def build(
    names: tuple[bytes, bytes],
    styles: Mapping[str, tuple[bytes, bytes]],
    more: Mapping[str, bytes] | None = None,
    silhouettes: tuple[bytes, str] | None = None,
    *,
    side: int = SIDE,
    on_progress: Progress | None = None,
) -> EmojiDataset:
    """Draw the data set from the files of its sources.

    Args:
        names: emojibase's `data.json` and `messages.json`.
        styles: of each style by which concepts are chosen, Iconify's `icons.json` and `chars.json`.
        more: of further styles, `icons.json`; of one concept they may have several icons.
        silhouettes: `icons.json`, and which of it are taken: a line is "name = label" of a concept that is
            there, or the "name" of one that is not.
        side, on_progress: as for `load_emoji`.

    Raises:
        SfumatoError: a file is not what it should be, an icon cannot be drawn, or no concept is left.
    """
    sets = {name: IconSet(*files) for name, files in styles.items()}
    concepts: list[Concept] = []
    rows: list[tuple[int, int, Icon]] = []
    for concept in read_concepts(*names):
        icons = [icons.of(concept.hexcode, concept.label) for icons in sets.values()]
        found = [(style, icon) for style, icon in enumerate(icons) if icon is not None]
        if len(found) >= _LEAST_STYLES:
            rows += [(len(concepts), style, icon) for style, icon in found]
            concepts.append(concept)
    if not rows:
        raise SfumatoError(f"no concept is drawn in {_LEAST_STYLES} styles")
    for style, further in enumerate(map(IconSet, (more or {}).values()), len(styles)):
        for row, concept in enumerate(concepts):
            rows += [(row, style, icon) for icon in further.spelling(concept.label)]
    told = (*sets, *(more or {}))
    if silhouettes is not None:
        rows += _silhouettes(*silhouettes, concepts, len(told))
        told = (*told, SILHOUETTE.name)
    pictures = torch.empty(len(rows), 3, side, side, dtype=torch.uint8)
    for i, (row, style, icon) in enumerate(rows):
        try:
            pictures[i] = render(icon, side)
        except SfumatoError as error:
            raise SfumatoError(f"{concepts[row].label!r} in style {told[style]!r}: {error}") from error
        if on_progress is not None:
            on_progress(i + 1, len(rows))
    return EmojiDataset(
        pictures=pictures,
        concept=torch.tensor([row for row, _, _ in rows]),
        style=torch.tensor([style for _, style, _ in rows]),
        concepts=tuple(concepts),
        styles=told,
    )


def _silhouettes(
    icons: bytes, table: str, concepts: list[Concept], style: int
) -> list[tuple[int, int, Icon]]:
    """The icons that a table names, as rows; the concepts that are new are appended."""
    drawn, found = IconSet(icons), []
    row_of = {concept.label: row for row, concept in enumerate(concepts)}
    for line in table.splitlines():
        name, _, label = line.partition(" = ")
        icon, said = drawn.by_name(name), label or name.replace("-", " ")
        if icon is None:
            raise SfumatoError(f"the silhouettes have no icon {name!r}")
        if said not in row_of:
            row_of[said] = len(concepts)
            concepts.append(Concept(label=said, keywords=(), group=GROUP, subgroup=GROUP, hexcode=""))
        found.append((row_of[said], style, icon))
    return found


def concepts_to_json(concepts: Sequence[Concept]) -> list[dict[str, Any]]:
    """A table of concepts as plain data."""
    return [asdict(concept) for concept in concepts]


def concepts_from_json(table: Sequence[Mapping[str, Any]]) -> tuple[Concept, ...]:
    """The table that `concepts_to_json` wrote; KeyError or TypeError for anything else."""
    return tuple(Concept(**{**row, "keywords": tuple(row["keywords"])}) for row in table)


def _drawn(cache: Path | None, side: int, on_progress: Progress | None) -> EmojiDataset:
    """The data set from its sources, which are fetched where the cache lacks them."""

    def read(collection: Collection, name: str) -> bytes:
        return fetch(collection, (name,), cache)[name]

    return build(
        (read(NAMES, "data.json"), read(NAMES, "messages.json")),
        {
            style.name: (read(style.icons, "icons.json"), read(style.chars, "chars.json"))
            for style in STYLES
            if style.chars is not None
        },
        {style.name: read(style.icons, "icons.json") for style in MORE_STYLES},
        (read(SILHOUETTE.icons, "icons.json"), SILHOUETTES),
        side=side,
        on_progress=on_progress,
    )


def _recipe() -> str:
    """A hash of all that the pictures are made of but their side."""
    styles = (*STYLES, *MORE_STYLES, SILHOUETTE)
    files = [collection.files for style in styles for collection in (style.icons, style.chars) if collection]
    parts = [content.sha256 for group in [*files, NAMES.files] for content in group.values()]
    parts.append(SILHOUETTES)
    return hashlib.sha256("/".join([str(_FORMAT), *parts]).encode()).hexdigest()


def _write(folder: Path, data: EmojiDataset) -> None:
    description = {
        "format": _FORMAT,
        "name": "emoji",
        "styles": data.styles,
        "concepts": concepts_to_json(data.concepts),
    }
    write_folder(
        folder,
        description,
        {"pictures": data.pictures, "concept": data.concept, "style": data.style},
    )


def _read(folder: Path) -> EmojiDataset:
    description, tensors = read_folder(folder)
    try:
        return EmojiDataset(
            **tensors,
            concepts=concepts_from_json(description["concepts"]),
            styles=tuple(description["styles"]),
        )
    except (KeyError, TypeError) as error:
        raise SfumatoError(f"{folder} holds no emoji") from error

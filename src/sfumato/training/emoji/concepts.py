"""Which emoji are concepts: things with a name and keywords that a picture can show.

Left out: flags; signs that are read rather than seen (letters, digits, punctuation, arrows and buttons,
signs of the zodiac); dial faces by the half hour; skin tones; and repeats of a concept in another gender,
another direction or another size.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.errors import SfumatoError
from sfumato.training.emoji.icons import plain

_GROUPS_LEFT_OUT = frozenset({"component", "flags"})
_SUBGROUPS_LEFT_OUT = frozenset(
    {
        "alphanum",
        "arrow",
        "av-symbol",
        "currency",
        "gender",
        "keycap",
        "math",
        "punctuation",
        "transport-sign",
        "zodiac",
    }
)
_LABELS_LEFT_OUT = frozenset(
    {
        "hundred points",
        "ZZZ",
        "copyright",
        "registered",
        "trade mark",
        "curly loop",
        "double curly loop",
        "part alternation mark",
        "check box with check",
        "radio button",
        "white square button",
        "black square button",
        "diamond with a dot",
        "speaker medium volume",
        "pregnant man",
        "pregnant person",
        "Mx Claus",
    }
)
_PARTS_LEFT_OUT = (
    ": facing right",
    "-thirty",
    " o'clock",
    "medium square",
    "medium-small",
    "small square",
    "small orange diamond",
    "small blue diamond",
    "family: ",
    "kiss: ",
    "couple with heart: ",
)
_KEPT = frozenset({"mermaid"})  # kept by name, though a repeat of "merperson"
_JOINER, _SIGNS, _ADULT, _GENDERED = (
    "200d",
    frozenset({"2640", "2642"}),
    "1f9d1",
    frozenset({"1f468", "1f469"}),
)


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One thing that pictures show: its label, other words for it, and its place in the order of emoji."""

    label: str
    keywords: tuple[str, ...]  # without the label
    group: str
    subgroup: str
    hexcode: str


def read_concepts(data: bytes, messages: bytes) -> tuple[Concept, ...]:
    """The concepts of emojibase's English tables, in their order.

    Args:
        data: `en/data.json`: label, tags, hexcode, group and subgroup of every emoji.
        messages: `en/messages.json`: the names of groups and subgroups.

    Raises:
        SfumatoError: the content is not emojibase's.
    """
    try:
        table: Sequence[Mapping[str, Any]] = json.loads(data)
        names = json.loads(messages)
        groups = {int(item["order"]): str(item["key"]) for item in names["groups"]}
        subgroups = {int(item["order"]): str(item["key"]) for item in names["subgroups"]}
        concepts = [_concept(row, groups, subgroups) for row in table if "group" in row]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SfumatoError(f"not the JSON of emojibase: {error}") from error
    known = {plain(concept.hexcode) for concept in concepts}
    return tuple(concept for concept in concepts if _is_kept(concept, known))


def _concept(row: Mapping[str, Any], groups: Mapping[int, str], subgroups: Mapping[int, str]) -> Concept:
    label = str(row["label"]).replace("’", "'")
    keywords = dict.fromkeys(str(tag).replace("’", "'") for tag in row.get("tags", ()))
    label = _spoken(label)
    keywords.pop(label, None)
    return Concept(
        label=label,
        keywords=tuple(keywords),
        group=groups[int(row["group"])],
        subgroup=subgroups[int(row["subgroup"])],
        hexcode=str(row["hexcode"]),
    )


def _spoken(label: str) -> str:
    """ "person: red hair" as one would say it."""
    who, colon, trait = label.partition(": ")
    if not colon or who not in ("person", "man", "woman"):
        return label
    if trait == "facing right":
        return label
    return f"bald {who}" if trait == "bald" else f"{who} with {trait}"


def _is_kept(concept: Concept, known: set[str]) -> bool:
    if concept.label in _KEPT:
        return True
    return not (
        concept.group in _GROUPS_LEFT_OUT
        or concept.subgroup in _SUBGROUPS_LEFT_OUT
        or concept.label in _LABELS_LEFT_OUT
        or any(part in concept.label for part in _PARTS_LEFT_OUT)
        or _without_gender(concept.hexcode) in known
    )


def _without_gender(hexcode: str) -> str | None:
    """The code of the same emoji without gender; None when this one has none to lose."""
    parts = plain(hexcode).split("-")
    if parts[-1] in _SIGNS and _JOINER in parts:
        return "-".join(parts[: parts.index(_JOINER)])
    if parts[0] in _GENDERED and _JOINER in parts:
        return "-".join([_ADULT, *parts[1:]])
    return None

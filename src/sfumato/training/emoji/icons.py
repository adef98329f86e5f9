"""Iconify's JSON of a set of icons: names, aliases and SVG documents.

A file `icons.json` holds `icons` (name -> body and box) and `aliases` (name -> parent, with flips and quarter
turns); `chars.json` says which name stands for which character.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sfumato.errors import SfumatoError

_DEEPEST_ALIAS = 5


@dataclass(frozen=True, kw_only=True)
class Icon:
    """One SVG: `body` is what lies inside its svg element, the box is in its own units."""

    body: str
    left: float
    top: float
    width: float
    height: float

    def document(self, left: float, top: float, width: float, height: float) -> str:
        """An SVG document that shows this part of the icon's plane."""
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left:g} {top:g} {width:g} {height:g}">{self.body}</svg>'
        )


class IconSet:
    """The icons of one style, by name and by character.

    Args:
        icons: the content of `icons.json`.
        chars: the content of `chars.json`: code points ("1f436", "2764-fe0f") to names; none of a style
            whose icons are found by what their names spell.

    Raises:
        SfumatoError: the content is not Iconify's.
    """

    def __init__(self, icons: bytes, chars: bytes = b"{}") -> None:
        try:
            content, names = json.loads(icons), json.loads(chars)
            self._icons: Mapping[str, Mapping[str, Any]] = content["icons"]
            self._aliases: Mapping[str, Mapping[str, Any]] = content.get("aliases", {})
            self._box = {
                key: float(content.get(key, default))
                for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
            }
            self._names = {plain(code): str(name) for code, name in names.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SfumatoError(f"not the JSON of an Iconify set: {error}") from error

    def of(self, hexcode: str, label: str) -> Icon | None:
        """The icon of a character, such as "1F436" or "2764-FE0F"; None when the style lacks it.

        An alias has no character of its own: it is found by the label that its name spells.
        """
        name = self._names.get(plain(hexcode), "-".join(re.findall("[a-z0-9]+", label.lower())))
        return self.by_name(name)

    def spelling(self, label: str) -> tuple[Icon, ...]:
        """All icons whose names spell a label: "fox", "fox-face", "fox-2"; in the order of their names."""
        found = (self.by_name(name) for name in self._spelt.get(spelt(label), ()))
        return tuple(icon for icon in found if icon is not None)

    @cached_property
    def _spelt(self) -> dict[str, tuple[str, ...]]:
        names: dict[str, list[str]] = {}
        for name in sorted({*self._icons, *self._aliases}):
            plainest = re.sub(r"-\d+$", "", name)
            for told in {plainest, plainest.removesuffix("-face")}:
                names.setdefault(spelt(told), []).append(name)
        return {key: tuple(value) for key, value in names.items()}

    def by_name(self, name: str) -> Icon | None:
        """The icon of that name, through aliases; None when there is none."""
        moves: list[Mapping[str, Any]] = []
        while name not in self._icons:
            if name not in self._aliases or len(moves) == _DEEPEST_ALIAS:
                return None
            moves.append(self._aliases[name])
            name = str(moves[-1]["parent"])
        own = self._icons[name]
        icon = Icon(body=str(own["body"]), **{key: float(own.get(key, self._box[key])) for key in self._box})
        for move in reversed(moves):
            icon = _moved(icon, move)
        return icon


def spelt(label: str) -> str:
    """The letters and digits of a label or name, by which they agree."""
    return "".join(re.findall("[a-z0-9]+", label.lower()))


def plain(hexcode: str) -> str:
    """Code points in lower case without the variation selector, by which sets and tables agree."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def _moved(icon: Icon, move: Mapping[str, Any]) -> Icon:
    """Flips and quarter turns of an alias, about the middle of the box."""
    x, y = icon.left + icon.width / 2, icon.top + icon.height / 2
    turns = int(move.get("rotate", 0)) % 4
    across, down = (-1 if move.get(key) else 1 for key in ("hFlip", "vFlip"))
    if (turns, across, down) == (0, 1, 1):
        return icon
    width, height = (icon.height, icon.width) if turns % 2 else (icon.width, icon.height)
    transform = f"translate({x:g} {y:g}) rotate({90 * turns}) scale({across} {down}) translate({-x:g} {-y:g})"
    return Icon(
        body=f'<g transform="{transform}">{icon.body}</g>',
        left=x - width / 2,
        top=y - height / 2,
        width=width,
        height=height,
    )

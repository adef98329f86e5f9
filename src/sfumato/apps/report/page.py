"""What stands on the page, as data: sections are kept as JSON between runs and rendered from it.

Files are named relative to the folder `pictures` beside the page. Text is plain; render.py escapes it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["done", "incomplete", "failed"]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Block):
    """How the pictures of a block were made: commands and Python, both to be run in the folder `pictures`.

    Either may be empty, where there is no such way.
    """

    commands: tuple[str, ...] = ()
    python: str = ""


class Shown(_Block):
    """A picture: its file, its size in pixels, what stands under it and what it shows in words."""

    file: str
    width: int
    height: int
    alt: str
    caption: str = ""


class Row(_Block):
    """Pictures beside one another. wide: they are sheets, which keep their own size; columns: in a table."""

    kind: Literal["row"] = "row"
    title: str
    note: str = ""
    pictures: tuple[Shown, ...]
    wide: bool = False
    columns: int | None = None
    source: Source = Source()


class Turn(_Block):
    """A picture that reads otherwise through a view, shown both ways and turning from one to the other."""

    kind: Literal["turn"] = "turn"
    title: str
    note: str = ""
    view: str
    upright: Shown
    seen: Shown
    source: Source = Source()


class Turns(_Block):
    """Several of them side by side."""

    kind: Literal["turns"] = "turns"
    title: str
    note: str = ""
    turns: tuple[Turn, ...]
    source: Source = Source()


class Distance(_Block):
    """Pictures that read otherwise from afar: large, small, blurred, and with a slider of the distance.

    blur: standard deviation of the blurred one in pixels of the picture.
    """

    kind: Literal["distance"] = "distance"
    title: str
    note: str = ""
    far: str
    near: str
    picture: Shown
    blur: float
    source: Source = Source()


class Table(_Block):
    """Figures. best: of each row, the column whose number is marked as the best, or None."""

    kind: Literal["table"] = "table"
    title: str
    note: str = ""
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[int | None, ...] = ()
    source: Source = Source()


class Drawing(_Block):
    """An SVG of ours, put into the page as it is. least: its width in pixels before it scrolls."""

    kind: Literal["drawing"] = "drawing"
    title: str
    note: str = ""
    svg: str
    least: int = 0
    source: Source = Source()


class Gap(_Block):
    """Something that belongs here and is not there, and what would bring it."""

    kind: Literal["gap"] = "gap"
    title: str
    text: str


Block = Annotated[Row | Turns | Distance | Table | Drawing | Gap, Field(discriminator="kind")]


class Section(_Block):
    """A section as it was made; `key` is the hash of all that it depends on."""

    id: str
    key: str
    status: Status
    error: str = ""
    seconds: float
    blocks: tuple[Block, ...] = ()

"""What stands on the page, as data: sections are kept as JSON between runs and rendered from it.

Files are named relative to the folder `pictures` beside the page. Text is plain; render.py escapes it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["done", "incomplete", "failed"]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Code(_Block):
    """How the pictures of a block are made: commands and Python, both to be run in the folder `pictures`.

    Either may be empty, where there is no such way.
    """

    commands: tuple[str, ...] = ()
    python: str = ""


class Picture(_Block):
    """A picture: its file, its size in pixels, what stands under it and what it shows in words."""

    file: str
    width: int
    height: int
    alt: str
    caption: str = ""


class _Titled(_Block):
    """What every block of pictures or figures has."""

    title: str
    note: str = ""
    code: Code = Code()


class Row(_Titled):
    """Pictures side by side. wide: sheets, which keep their own size. columns: of a table."""

    kind: Literal["row"] = "row"
    pictures: tuple[Picture, ...]
    wide: bool = False
    columns: int | None = None


class Turn(_Block):
    """A picture and how it is seen through a view."""

    view: str
    upright: Picture
    seen: Picture


class Turns(_Titled):
    """Pictures that read otherwise through a view, shown both ways and turning from one to the other."""

    kind: Literal["turns"] = "turns"
    turns: tuple[Turn, ...]


class Distance(_Titled):
    """A picture that reads otherwise from afar: large, small, blurred, and with a slider of the distance.

    blur: standard deviation of the blur in pixels of the picture.
    """

    kind: Literal["distance"] = "distance"
    far: str
    near: str
    picture: Picture
    blur: float


class Table(_Titled):
    """Figures. best: for each row the column that is marked as the best, or None."""

    kind: Literal["table"] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[int | None, ...] = ()


class Drawing(_Titled):
    """An SVG of this package. least: its least width in pixels; on a smaller screen it scrolls."""

    kind: Literal["drawing"] = "drawing"
    svg: str
    least: int = 0


class Gap(_Block):
    """What is missing, and the command that makes it."""

    kind: Literal["gap"] = "gap"
    title: str
    text: str


Block = Annotated[Row | Turns | Distance | Table | Drawing | Gap, Field(discriminator="kind")]


class Section(_Block):
    """A section as it was made; `key` is the hash of everything that it depends on."""

    id: str
    key: str
    status: Status
    error: str = ""
    seconds: float
    blocks: tuple[Block, ...] = ()

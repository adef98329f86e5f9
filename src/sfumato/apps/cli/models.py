"""The models that have names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from sfumato.apps.cli.tables import print_table
from sfumato.errors import ModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = {"models": "sfumato models runs/digits/model"}


def models(
    folders: Annotated[
        list[Path] | None, Argument(help="Folders of models of your own.", show_default=False)
    ] = None,
) -> None:
    """List the models that have names, what they draw and where they are; or those in folders.

    Models of the hub are fetched at their first use.
    """
    from sfumato.models.files.registry import HUB
    from sfumato.models.files.store import read_description

    rows = []
    for name, about, folder in _listed(folders):
        try:
            found = read_description(folder)
            size, draws = _size(found), _draws(found)
        except ModelUnavailableError:
            if folders:
                raise
            size, draws = "missing", "-"
        rows.append((name, size, draws, about, str(folder)))
    if not folders:
        rows += [(name, "hub", "text", hub.summary, hub.repository) for name, hub in HUB.items()]
    print_table(("name", "size", "draws", "about", "where"), *rows)


def _listed(folders: list[Path] | None) -> Iterator[tuple[str, str, Path]]:
    """Name, summary and folder of each."""
    from sfumato.models.files.registry import MODELS, weights_folder

    if folders:
        yield from ((str(folder), "", folder) for folder in folders)
    else:
        yield from ((name, summary, weights_folder(name)) for name, summary in MODELS.items())


def _size(description: dict[str, Any]) -> str:
    weights = description.get("weights")
    count = weights.get("bytes") if isinstance(weights, dict) else None
    return f"{count / 1e6:.1f} MB" if isinstance(count, int) else "unknown"


def _draws(description: dict[str, Any]) -> str:
    names = description.get("class_names") or ()
    channels, height, width = description.get("shape") or ("?",) * 3
    colour = "grey" if channels == 1 else "RGB" if channels == 3 else ""
    pictures = f"{width} x {height} {colour}".strip()
    return f"{', '.join(map(str, names)) or _takes(description)}; {pictures}"


def _takes(description: dict[str, Any]) -> str:
    """What a model without classes is asked with."""
    network = description.get("network")
    kind = network.get("kind") if isinstance(network, dict) else None
    return {"prompted": "free text", "upscaling": "small pictures"}.get(str(kind), "no prompts")

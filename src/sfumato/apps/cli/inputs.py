"""Input pictures: fitted to a model, and found again for a replay.

A recipe names an input by the sha256 of its values at the model's size. The file name only says where
to look: a file counts only if its values have that hash.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sfumato.apps.cli.progress import note
from sfumato.errors import SfumatoError, UsageError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.core.hashed import HashedTensor
    from sfumato.models.cascade import Stages
    from sfumato.pictures.surroundings import Surroundings
    from sfumato.recipe import InputFile, Recipe


def check_inputs(*paths: Path | None) -> None:
    """Refuse a file that is not there, before torch is loaded; what is in it is checked when it is read.

    Raises:
        UsageError: one of the files is missing, is no file or is empty.
    """
    for path in paths:
        if path is None:
            continue
        try:
            info = path.stat()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            near = did_you_mean(path.name, _names_in(path.parent))
            raise UsageError(f"cannot read {path}: {why}{near}") from error
        if stat.S_ISDIR(info.st_mode):
            raise UsageError(f"{path} is a folder: name one file in it")
        if stat.S_ISREG(info.st_mode) and not info.st_size:
            raise UsageError(f"{path} is empty (0 bytes): save or download it again")


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def fitting(path: Path, model: Stages) -> Path:
    """The path of a picture; a note says where it must be cropped and resized for the model."""
    from sfumato.pictures import picture_size

    (height, width), (_, own_height, own_width) = picture_size(path), model.shape
    if (height, width) != (own_height, own_width):
        note(f"{path} is {width} x {height}: cropped and resized to {own_width} x {own_height}")
    return path


class FoundInputs(NamedTuple):
    """The inputs of a recipe by their sha256, and what its pictures are laid back into."""

    tensors: dict[str, Tensor]
    surroundings: Surroundings | None


def find_inputs(recipe: Recipe, model: Stages, *, beside: Path, folder: Path | None) -> FoundInputs:
    """The inputs of a recipe: from `folder`, from beside the picture, or from their old path.

    Raises:
        UsageError: one of them is missing, or has changed.
    """
    found: dict[str, Tensor] = {}
    paths: dict[str, Path] = {}
    for sha256, file in recipe.inputs.items():
        old = Path(file.file)
        places = [place / old.name for place in (folder, beside) if place is not None]
        # a low-resolution picture is as it is; version 0.1 read pictures at the size of the first stage
        sizes = (None,) if sha256 == recipe.low else dict.fromkeys((recipe.made_size, recipe.size))
        looked: list[str] = []
        for path, size in product(dict.fromkeys([*places, old]), sizes):
            try:
                held = _read(path, file, size, model.stages[0].shape[0])
            except SfumatoError as error:
                looked.append(str(error))
                continue
            if held.sha256 == sha256:
                found[sha256], paths[sha256] = held.tensor, path
                break
            looked.append(f"{path} has changed")
        else:
            raise UsageError(
                f"the input {file.file} (sha256 {sha256[:12]}) was not found: {'; '.join(looked)}. "
                "Give the folder that holds it: --inputs FOLDER"
            )
    return FoundInputs(found, _surroundings(recipe, paths))


def _surroundings(recipe: Recipe, paths: Mapping[str, Path]) -> Surroundings | None:
    """What the pictures of a recipe are laid back into, from the files of its inputs."""
    from sfumato.pictures.surroundings import Surroundings, read_inside, read_pixels

    kept, mask = (recipe.inputs.get(sha256 or "") for sha256 in (recipe.keep, recipe.mask))
    if kept is None or mask is None or kept.box is None:
        return None
    pixels = read_pixels(paths[recipe.keep or ""])
    size = (pixels.shape[-2], pixels.shape[-1])
    return Surroundings(pixels, read_inside(paths[recipe.mask or ""], mask.convention, size), kept.box)


def _read(path: Path, file: InputFile, size: tuple[int, int] | None, channels: int) -> HashedTensor:
    from sfumato.core.hashed import HashedTensor
    from sfumato.pictures import picture_size, read_mask, read_picture
    from sfumato.pictures.surroundings import mask_part, picture_part, read_inside, read_pixels

    if file.box is not None and size is not None:
        if file.kind == "mask":
            inside = read_inside(path, file.convention, picture_size(path))
            return HashedTensor(mask_part(inside, file.box, size))
        return HashedTensor(picture_part(read_pixels(path), file.box, size, channels))
    if file.kind == "mask" and size is not None:
        mask = read_mask(path, convention=file.convention, size=picture_size(path), resize=size)
        return HashedTensor(mask)
    return HashedTensor(read_picture(path, size=size, channels=channels))

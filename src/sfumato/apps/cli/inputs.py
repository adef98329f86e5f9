"""Input pictures: fitted to a model, and found again for a replay.

A recipe names an input by the sha256 of its values at the model's size. The file name only says where
to look: a file counts only if its values have that hash.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from sfumato.apps.cli.progress import note
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.core.hashed import HashedTensor
    from sfumato.models.cascade import Stages
    from sfumato.recipe import InputFile, Recipe


def fitting(path: Path, model: Stages, fit: str) -> Path:
    """The path of a picture; a note says what is done to it for the model, by the rule of --fit."""
    from sfumato.pictures import picture_size

    (height, width), (_, own_height, own_width) = picture_size(path), model.shape
    if (height, width) != (own_height, own_width):
        how = "resized"
        if height * own_width > width * own_height:
            how = {"top": "its lower part cut off", "crop": "cropped", "pad": "padded"}[fit] + ", resized"
        elif height * own_width < width * own_height:
            how = "padded, resized" if fit == "pad" else "both sides cut off, resized"
        note(f"{path} is {width} x {height}: {how} to {own_width} x {own_height}")
    return path


def find_inputs(recipe: Recipe, model: Stages, *, beside: Path, folder: Path | None) -> dict[str, Tensor]:
    """The inputs of a recipe by their sha256: from `folder`, from beside the picture, or from their old path.

    Raises:
        UsageError: one of them is missing, or has changed.
    """
    found = {}
    for sha256, file in recipe.inputs.items():
        places = [place / name for place in (folder, beside) if place for name in _names(file.file)]
        # a low-resolution picture is as it is; version 0.1 read pictures at the size of the first stage
        sizes = (None,) if sha256 == recipe.low else dict.fromkeys((recipe.made_size, recipe.size))
        looked: list[str] = []
        for path, size, now in product(dict.fromkeys([*places, Path(file.file)]), sizes, (True, False)):
            try:
                held = _read(path, file, size, model.stages[0].shape[0], now=now)
            except SfumatoError as error:
                looked.append(str(error))
                continue
            if held.sha256 == sha256:
                found[sha256] = held.tensor
                break
            looked.append(f"{path} has changed")
        else:
            raise UsageError(
                f"the input {file.file} (sha256 {sha256[:12]}) was not found: "
                f"{'; '.join(dict.fromkeys(looked))}. "
                "Give the folder that holds it: --inputs FOLDER"
            )
    return found


def _names(file: str) -> list[str]:
    """The names under which a file of a recipe may lie in a folder; it may come from Windows."""
    parts = PureWindowsPath(file)
    below = [] if parts.anchor else [parts.as_posix()]
    return list(dict.fromkeys([Path(file).name, parts.name, *below]))


def _read(
    path: Path, file: InputFile, size: tuple[int, int] | None, channels: int, *, now: bool
) -> HashedTensor:
    """The values of an input; now: as this version reads it, otherwise as sfumato 0.1 did."""
    from sfumato.core.hashed import HashedTensor
    from sfumato.pictures import picture_size, read_mask, read_picture

    if file.kind == "mask" and size is not None:
        mask = read_mask(
            path, convention=file.convention, size=picture_size(path), resize=size, fit=file.fit, thin=now
        )
        return HashedTensor(mask)
    return HashedTensor(read_picture(path, size=size, channels=channels, fit=file.fit, managed=now))

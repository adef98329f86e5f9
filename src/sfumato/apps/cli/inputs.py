"""Input pictures: read for a model, recorded in the recipe, found again for a replay.

A recipe names an input by the sha256 of its values at the model's size. The file name only says where
to look: a file counts only if its values have that hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.apps.cli.progress import note
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.core.filters import Mask
    from sfumato.models.model import Model
    from sfumato.pictures.read import Convention
    from sfumato.recipe import InputFile, Recipe


class Inputs:
    """Reads the inputs of one run. files: their records for the recipe, by sha256."""

    def __init__(self, model: Model) -> None:
        channels, height, width = model.shape
        self.channels, self.size = channels, (height, width)
        self.files: dict[str, InputFile] = {}

    def picture(self, path: Path) -> Tensor:
        """The picture at the model's size and channels, (1, C, H, W) in [-1, 1]; or UsageError."""
        from sfumato.pictures import picture_size

        own = picture_size(path)
        if own != self.size:
            note(f"{path} is {own[1]} x {own[0]}: cropped and resized to {self.size[1]} x {self.size[0]}")
        return self._recorded(path, self.size)

    def small(self, path: Path) -> Tensor:
        """The picture at its own size, for a model that makes it larger, (1, C, h, w) in [-1, 1]."""
        return self._recorded(path, None)

    def _recorded(self, path: Path, size: tuple[int, int] | None) -> Tensor:
        from sfumato.core.hashed import HashedTensor
        from sfumato.recipe import InputFile

        x = _picture(path, size, self.channels)
        self.files[HashedTensor(x).sha256] = InputFile(file=str(path))
        return x

    def mask(self, path: Path, convention: Convention, *, of: Path) -> Mask:
        """The mask of the picture `of`, cropped and resized like it; UsageError for other files."""
        from sfumato.pictures import picture_size
        from sfumato.recipe import InputFile

        mask = _mask(path, convention, picture_size(of), self.size)
        self.files[mask.sha256] = InputFile(file=str(path), kind="mask", convention=convention)
        return mask


def find_inputs(recipe: Recipe, channels: int, *, beside: Path, folder: Path | None) -> dict[str, Tensor]:
    """The inputs of a recipe by their sha256: from `folder`, from beside the picture, or from their old path.

    Raises:
        UsageError: one of them is missing, or has changed.
    """
    return {
        sha256: _find(recipe, sha256, file, channels, _places(file, beside, folder))
        for sha256, file in recipe.inputs.items()
    }


def _places(file: InputFile, beside: Path, folder: Path | None) -> Iterator[Path]:
    name = Path(file.file).name
    if folder is not None:
        yield folder / name
    yield beside / name
    yield Path(file.file)


def _find(recipe: Recipe, sha256: str, file: InputFile, channels: int, places: Iterable[Path]) -> Tensor:
    looked: list[str] = []
    for path in dict.fromkeys(places):
        try:
            size = None if sha256 == recipe.low else recipe.size  # a low-resolution picture is as it is
            found, tensor = _read_again(path, file, size, channels)
        except SfumatoError as error:
            looked.append(str(error))
            continue
        if found == sha256:
            return tensor
        looked.append(f"{path} has changed")
    raise UsageError(
        f"the input {file.file} (sha256 {sha256[:12]}) was not found: {'; '.join(looked)}. "
        "Give the folder that holds it: --inputs FOLDER"
    )


def _read_again(
    path: Path, file: InputFile, size: tuple[int, int] | None, channels: int
) -> tuple[str, Tensor]:
    from sfumato.core.hashed import HashedTensor
    from sfumato.pictures import picture_size

    if file.kind == "mask" and size is not None:
        mask = _mask(path, file.convention, picture_size(path), size)
        return mask.sha256, mask.tensor
    content = HashedTensor(_picture(path, size, channels))
    return content.sha256, content.tensor


def _picture(path: Path, size: tuple[int, int] | None, channels: int) -> Tensor:
    from sfumato.pictures import read_picture

    return read_picture(path, size=size, channels=1 if channels == 1 else 3)


def _mask(path: Path, convention: Convention, own: tuple[int, int], size: tuple[int, int]) -> Mask:
    from sfumato.core.filters import Mask
    from sfumato.pictures import read_mask

    return Mask(read_mask(path, convention=convention, size=own, resize=size))

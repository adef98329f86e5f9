"""Folders of weights in several files, and with files beside the weights. (One file: test_models.py.)"""

import hashlib
import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.core.frame import Label
from sfumato.core.schedule import Flow
from sfumato.errors import ModelUnavailableError, SfumatoError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.saved import load_model, save_model
from sfumato.models.files.store import read_file, read_folder, write_folder
from sfumato.models.model import Model
from sfumato.models.networks.residual import ResidualUNet

LETTER = b"Dear Anna"
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    floats = {name: torch.randn(10, 25, generator=generator) for name in "abcde"}  # 1000 bytes each
    return {**floats, "bytes": torch.arange(100, dtype=torch.int8), "count": torch.tensor(7)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards: ab, cd, and the rest."""
    write_folder(tmp_path / "toy", {"name": "toy"}, tensors(), files={"letter.txt": LETTER}, shard=2500)
    return tmp_path / "toy"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_in_shards_is_read(folder: Path):
    assert names(folder) == ["letter.txt", *SHARDS, "model.json"]
    description, found = read_folder(folder)
    assert description["name"] == "toy"
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
    assert read_file(folder, description, "letter.txt") == LETTER


def test_the_description_states_every_file(folder: Path):
    description = json.loads((folder / "model.json").read_text())
    weights = description["weights"]
    for stated in weights["shards"] + description["files"]:
        content = (folder / stated["file"]).read_bytes()
        assert (stated["sha256"], stated["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert [stated["file"] for stated in weights["shards"]] == SHARDS
    assert weights["bytes"] == sum((folder / name).stat().st_size for name in SHARDS)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12), shard=st.integers(400, 4000))
def test_no_file_is_larger_than_a_shard_but_for_one_large_tensor(sizes, shard):
    written = {f"layer.{i}.weight": torch.arange(float(size)) for i, size in enumerate(sizes)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "toy")
        write_folder(folder, {}, written, shard=shard)
        description, found = read_folder(folder)
        for stated in description["weights"].get("shards", [description["weights"]]):
            held = json.loads((folder / stated["file"]).read_bytes()[8:].split(b"}}")[0] + b"}}")
            assert stated["bytes"] <= shard or len(held) == 1
    assert found.keys() == written.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in written.items())


def test_weights_that_fit_lie_in_one_file(tmp_path: Path):
    write_folder(tmp_path / "toy", {}, tensors())
    assert names(tmp_path / "toy") == ["model.json", "model.safetensors"]
    assert read_folder(tmp_path / "toy")[0]["weights"].keys() == {"file", "sha256", "bytes"}


def test_fewer_shards_leave_none_of_the_others_behind(folder: Path):
    write_folder(folder, {}, {"a": torch.zeros(3)})
    assert names(folder) == ["model.json", "model.safetensors"]


def test_a_model_in_shards_is_the_model(tmp_path: Path):
    network = ResidualUNet(width=16, deep=32, classes=10)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    shape = {"shape": (1, 28, 28), "classes": 10}
    save_model(
        Model(
            network,
            name="toy",
            schedule=Flow(),
            prediction="flow",
            defaults=SamplingDefaults(),
            **shape,
        ),
        tmp_path / "one",
    )
    write_folder(tmp_path / "many", *read_folder(tmp_path / "one"), shard=100_000)
    assert len(names(tmp_path / "many")) > 3
    one, many = load_model(tmp_path / "one"), load_model(tmp_path / "many")
    x, t = torch.ones(1, 1, 28, 28), torch.tensor([0.5])
    torch.testing.assert_close(
        many.denoise(x, t, [Label(3)]).x0, one.denoise(x, t, [Label(3)]).x0, rtol=0, atol=0
    )
    assert many.sha256 == json.loads((tmp_path / "many" / "model.json").read_text())["weights"]["sha256"]
    assert many.sha256 != one.sha256


# --------------------------------------------------------------------------------------------------- damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def edit(folder: Path, change) -> None:
    path = folder / "model.json"
    description = json.loads(path.read_text())
    change(description["weights"])
    path.write_text(json.dumps(description))


STATES_NONE = r"model\.json states no hash of its weights: it is damaged"
NOT_THE_HASH = r"has not the sha256 that model\.json states"
NOT_OF_THE_SHARDS = "the hash of its weights is not that of its shards"
DAMAGE = {
    "a shard is missing": (lambda f: (f / SHARDS[1]).unlink(), f"no weights at .*{SHARDS[1]}"),
    "a shard is cut": (lambda f: cut(f / SHARDS[2]), f"{SHARDS[2]} {NOT_THE_HASH}"),
    "a shard is changed": (lambda f: flip(f / SHARDS[0]), f"{SHARDS[0]} {NOT_THE_HASH}"),
    "shards are swapped": (lambda f: swap(f / SHARDS[0], f / SHARDS[1]), f"{SHARDS[0]} {NOT_THE_HASH}"),
    "a shard is a folder": (
        lambda f: ((f / SHARDS[0]).unlink(), (f / SHARDS[0]).mkdir()),
        f"cannot read .*{SHARDS[0]}",
    ),
    "a shard is not stated": (lambda f: edit(f, lambda w: w["shards"].pop()), NOT_OF_THE_SHARDS),
    "the whole has another hash": (lambda f: edit(f, lambda w: w.update(sha256="0" * 64)), NOT_OF_THE_SHARDS),
    "a shard states no hash": (lambda f: edit(f, lambda w: w["shards"][0].pop("sha256")), STATES_NONE),
    "a shard has no name": (lambda f: edit(f, lambda w: w["shards"][0].pop("file")), STATES_NONE),
    "a shard is elsewhere": (
        lambda f: edit(f, lambda w: w["shards"][0].update(file="../model.safetensors")),
        STATES_NONE,
    ),
    "the shards are a word": (lambda f: edit(f, lambda w: w.update(shards="all")), STATES_NONE),
    "the shards are a number": (lambda f: edit(f, lambda w: w.update(shards=3)), STATES_NONE),
    "there are no shards": (lambda f: edit(f, lambda w: w.update(shards=[])), NOT_OF_THE_SHARDS),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, damage, message):
    damage(folder)
    with pytest.raises(SfumatoError, match=message) as caught:
        read_folder(folder)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ModelUnavailableError) == message.startswith("no weights")


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda f: (f / "letter.txt").unlink(), ModelUnavailableError, r"no file at .*letter\.txt"),
        (lambda f: flip(f / "letter.txt"), SfumatoError, rf"letter\.txt {NOT_THE_HASH}"),
    ],
)
def test_a_damaged_file_is_refused(folder: Path, damage, kind, message):
    damage(folder)
    description, _ = read_folder(folder)
    with pytest.raises(kind, match=message):
        read_file(folder, description, "letter.txt")


def test_a_file_that_is_not_stated_is_not_read(folder: Path):
    (folder / "other.txt").write_bytes(LETTER)
    with pytest.raises(SfumatoError, match=r"states no hash of other\.txt"):
        read_file(folder, read_folder(folder)[0], "other.txt")


def test_a_failed_write_leaves_what_was_there(folder: Path):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    with pytest.raises(SfumatoError, match="cannot write the model to"):
        write_folder(folder, {}, tensors(), files={"no/such/place": b""})
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    assert names(folder.parent) == ["toy"]

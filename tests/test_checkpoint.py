"""A checkpoint is complete or not there, and a damaged one is named."""

import json
from pathlib import Path

import pytest
import torch

from sfumato.errors import SfumatoError
from sfumato.training.checkpoint import Checkpoint, complete_checkpoints, read_checkpoint, write_checkpoint


def checkpoint(step: int = 3) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    network = {"weight": torch.randn(4, 3, generator=generator), "count": torch.tensor(step)}
    return Checkpoint(
        step=step, facts={"preset": {"name": "x"}, "seed": 5}, groups={"network": network, "optimizer": {}}
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "new" / "folder", checkpoint())
    found = read_checkpoint(path)
    assert path.name == "step-00000003"
    assert found.step == 3
    assert found.facts == checkpoint().facts
    assert found.groups["optimizer"] == {}
    for name, value in checkpoint().groups["network"].items():
        assert torch.equal(found.groups["network"][name], value)
        assert found.groups["network"][name].dtype == value.dtype


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 100_000_000):
        write_checkpoint(tmp_path, checkpoint(step))
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-00000010", "step-100000000"]
    assert len(list(tmp_path.iterdir())) == 2


def test_unsealed_and_half_written_folders_do_not_count(tmp_path: Path) -> None:
    good = write_checkpoint(tmp_path, checkpoint(1))
    later = write_checkpoint(tmp_path, checkpoint(2))
    (later / "manifest.json").unlink()
    (tmp_path / ".writing-00000003").mkdir()
    assert complete_checkpoints(tmp_path) == [good]
    assert complete_checkpoints(tmp_path / "nowhere") == []
    write_checkpoint(tmp_path, checkpoint(2))  # and they are in nobody's way
    write_checkpoint(tmp_path, checkpoint(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("name", ["network.safetensors", "facts.json"])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    path = write_checkpoint(tmp_path, checkpoint())
    content = (path / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        (path / name).write_bytes(content[:length])
        with pytest.raises(SfumatoError, match=f"{name} .*: {length} bytes .*{len(content)}"):
            read_checkpoint(path)


def test_one_changed_bit_is_refused(tmp_path: Path) -> None:
    older = write_checkpoint(tmp_path, checkpoint(1))
    path = write_checkpoint(tmp_path, checkpoint(2))
    content = bytearray((path / "network.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "network.safetensors").write_bytes(content)
    with pytest.raises(SfumatoError, match=r"checksum .*step-00000002 .*step-00000001"):
        read_checkpoint(path)
    read_checkpoint(older)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, checkpoint())
    (path / "optimizer.safetensors").unlink()
    with pytest.raises(SfumatoError, match=r"optimizer\.safetensors: No such file"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "JSON"),
        ("[]", "JSON object"),
        ("{}", "step"),
        ('{"step": 3, "files": {"../../elsewhere": {"bytes": 1, "sha256": ""}}}', "elsewhere"),
        ('{"step": "many", "files": {}}', "many"),
        ('{"step": 3, "files": {}}', "facts.json"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, manifest: str, message: str) -> None:
    path = write_checkpoint(tmp_path, checkpoint())
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(SfumatoError, match=message) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_safetensors_that_are_none_are_refused(tmp_path: Path) -> None:
    import hashlib

    path = write_checkpoint(tmp_path, checkpoint())
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "network.safetensors").write_bytes(b"not tensors")
    manifest["files"]["network.safetensors"] = {
        "bytes": 11,
        "sha256": hashlib.sha256(b"not tensors").hexdigest(),
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SfumatoError, match="step-00000003"):
        read_checkpoint(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SfumatoError, match="step-00000003: Not a directory"):
        write_checkpoint(tmp_path / "file", checkpoint())


def test_the_older_checkpoint_survives_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_checkpoint(tmp_path, checkpoint(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SfumatoError, match="No space left on device"):
        write_checkpoint(tmp_path, checkpoint(2))
    assert list(tmp_path.iterdir()) == [good]
    read_checkpoint(good)

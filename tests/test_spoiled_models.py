"""Forty spoiled model folders: each is refused in one line, soon, and without the memory that it asks for."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sfumato.core.schedule import Flow
from sfumato.models.files.saved import save_model
from sfumato.models.model import Model
from sfumato.models.networks.residual import ResidualUNet

MOST_MB, MOST_SECONDS = 300, 120  # the seconds of all together, on a busy machine
Change = Callable[[Path], object]


def config(**changes: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        description = json.loads(path.read_text())
        description["network"]["config"].update(changes)
        path.write_text(json.dumps(description))

    return change


def described(**changes: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def weights(**changes: object) -> Change:
    def change(folder: Path) -> None:
        stated = json.loads((folder / "model.json").read_text())["weights"]
        described(weights={**stated, **changes})(folder)

    return change


def link(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return change


def pipe(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def sparse(name: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / name, size)


def text(content: str) -> Change:
    return lambda folder: (folder / "model.json").write_text(content)


def head(content: bytes, length: int | None = None) -> Change:
    """Another header of the weights, of the stated bytes."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        start = (len(content) if length is None else length).to_bytes(8, "little") + content
        path.write_bytes(start + path.read_bytes()[len(start) :])

    return change


W, J = "model.safetensors", "model.json"
SPOILED: dict[str, Change] = {
    **{f"width {n}": config(width=n) for n in (8000, 999_984, 10**9, 10**30, 10**100, -16, 0, "16", None)},
    **{f"deep {n}": config(deep=n) for n in (8000, 999_968, 2**62)},
    **{f"{key} {n}": config(**{key: n}) for key in ("blocks", "middle") for n in (500, 10**6, 10**12)},
    **{f"classes {n}": config(classes=n) for n in (999_999, 2**40)},
    "unknown argument": config(memory=10**9),
    **{f"shape {s}": described(shape=s) for s in ([1, 10**6, 10**6], [10**9], "large", [1, 2**62, 2**62])},
    "timesteps": described(schedule={"kind": "linear", "timesteps": 10**9}),
    "classes without end": described(class_names=["x"] * 10_000),
    "deep json": text("[" * 100_000 + "]" * 100_000),
    "deep but valid": text('{"a":' * 900 + "1" + "}" * 900),
    "long number": text('{"format": ' + "9" * 5000 + "}"),
    "large json": sparse(J, 2**33),
    "weights of 1 TB": sparse(W, 2**40),
    "weights of 1 TB, stated": lambda folder: (sparse(W, 2**40)(folder), weights(bytes=2**40)(folder)),
    "weights of zeros": link(W, "/dev/zero"),
    "weights of a pipe": pipe(W),
    "weights elsewhere": link(W, "/etc/passwd"),
    "weights by a path": weights(file="/etc/passwd"),
    "json of zeros": link(J, "/dev/zero"),
    "json of a pipe": pipe(J),
    "a long header": head(b"{}", length=2**40),
    "a header of lists": head(b"[" * 900),
    "a header that lies": head(b'{"x":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}'),
}
RUN = """
import sys
from pathlib import Path
import sfumato as sf
from sfumato.errors import SfumatoError
from sfumato.models.files.saved import load_model
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_model(folder)
    except SfumatoError as error:
        print(len(str(error).splitlines()), folder.name, str(error)[:150].replace(chr(10), ' '))
    else:
        print(0, folder.name, "was loaded")
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(int(peak.split()[1]) // 1024)  # MB; getrusage would count the process that forked this one
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_spoiled_folders_are_refused_in_little_memory() -> None:
    assert len(SPOILED) >= 40
    toy = Model(
        ResidualUNet(width=16, deep=32), name="toy", schedule=Flow(), prediction="flow", shape=(1, 28, 28)
    )
    with tempfile.TemporaryDirectory() as scratch:
        for number, change in enumerate(SPOILED.values()):
            folder = Path(scratch, f"{number:02}")
            save_model(toy, folder)
            change(folder)
        ended = subprocess.run(
            [sys.executable, "-c", RUN, scratch],
            check=False,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
        )
    *lines, memory = ended.stdout.splitlines()
    assert [line for line in lines if not line.startswith("1 ")] == [], ended.stderr
    assert len(lines) == len(SPOILED)
    assert int(memory) < MOST_MB

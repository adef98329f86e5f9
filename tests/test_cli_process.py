"""The command line as a process: how fast it answers, how it ends by a signal, what a shell completes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from commands import write_models

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")

HEAVY = "{'torch', 'PIL', 'numpy', 'accelerate', 'pooch'}"
THEN_NOTHING_HEAVY = f"import sys; sys.exit(sorted({HEAVY} & set(sys.modules)) or 0)"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_is_quick_and_needs_nothing_heavy() -> None:
    start = time.monotonic()
    done = python(f"from sfumato.apps.cli import main; main(['--help']); {THEN_NOTHING_HEAVY}")
    assert time.monotonic() - start < 10  # a third of a second on an idle machine
    assert done.returncode == 0, done.stderr
    assert "anagram" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("anagram --view rotate_", {"rotate_cw", "rotate_ccw", "rotate_180"}),
        ("generate --solver dpm", {"dpm++2m", "dpm++3m"}),
        ("generate --model digits-d", {"digits-denoise"}),
    ],
)
def test_a_shell_completes_names_without_torch(
    words: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SFUMATO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"sfumato {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    done = python(f"from sfumato.apps.cli import main; main([]); {THEN_NOTHING_HEAVY}")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == expected


def drain(terminal: int, shown: list[bytes]) -> None:
    """Read a terminal until the last process has closed it, so that none waits for it."""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 4096):
            shown.append(part)


@pytest.mark.parametrize(
    ("number", "code", "on_terminal"), [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)]
)
def test_a_signal_leaves_only_complete_pictures(
    number: signal.Signals, code: int, on_terminal: bool, tmp_path: Path
) -> None:
    model = write_models(tmp_path / "models") / "digits"
    work = tmp_path / "work"
    work.mkdir()
    args = ["generate", "7", "--model", str(model), "--seed", "0", "--count", "100000", "--max-rows", "4"]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sfumato.apps.cli", *args],
        cwd=work,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=end if on_terminal else subprocess.PIPE,
        text=True,
    )
    os.close(end)
    shown: list[bytes] = []
    reader = threading.Thread(target=drain, args=(terminal, shown))
    reader.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "7-0.png\n"  # it is at work
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        reader.join()
        os.close(terminal)
    err = b"".join(shown).decode() if on_terminal else err
    assert process.returncode == code
    assert err.splitlines()[-1].endswith(f"stopped by {number.name}")
    assert ("/100000" in err) == on_terminal  # the bar
    assert on_terminal or err.count("\n") == 1
    names = {path.name for path in work.iterdir()}
    assert names == {f"7-{seed}.png" for seed in range(len(names))}
    for name in names:
        assert (work / name).read_bytes()[-8:-4] == b"IEND"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
def test_a_training_keeps_the_memory_that_it_frees() -> None:
    def faults(before: str) -> int:
        """Pages that the system had to hand out while 64 MB were taken and freed nine times."""
        taken = "resource.getrusage(resource.RUSAGE_SELF).ru_minflt"
        done = python(
            f"import resource, torch\nfrom sfumato.apps.cli.train import keep_memory\n{before}\n"
            f"torch.ones(1 << 24)\nat = {taken}\nfor _ in range(9): torch.ones(1 << 24)\nprint({taken} - at)"
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    kept = faults("if not keep_memory(): raise SystemExit(print(-1))")
    if kept < 0:
        pytest.skip("this C library is not glibc")
    assert kept < faults("") / 5

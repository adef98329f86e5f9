"""The server's log: a line a record, and nobody waits for whoever reads it."""

import subprocess
import sys

PROGRAM = """
import logging
from sfumato.apps.server.logs import configure
configure("json")
for i in range(3000):
    logging.getLogger("sfumato.jobs").info("x" * 1000)
print("done", flush=True)
"""


def test_a_pipe_that_nobody_reads_stops_nobody() -> None:
    """A pipe holds 64 KB; three million bytes are logged."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "done\n"
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()


def test_what_was_logged_last_is_written() -> None:
    program = PROGRAM.replace("range(3000)", "range(20)")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stderr.splitlines()) == 20

"""The server as a process: it drains when it is told to stop, and a sudden end leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from live import wait_for
from test_cli import write_models

DRAIN = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models")) / "digits"


@contextmanager
def process(model: Path, folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "sfumato.apps.cli", "serve", "--model", str(model), "--port", "0"]
    server = subprocess.Popen(
        [*command, "--drain", str(DRAIN), *more],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        with httpx.Client(base_url=line.split()[-1], timeout=DRAIN) as client:
            wait_for(lambda: client.get("/readyz").status_code == 200)
            yield server, client
    finally:
        server.kill()
        server.communicate()


def asked(client: httpx.Client, answers: list[httpx.Response | Exception], steps: int) -> threading.Thread:
    def ask() -> None:
        try:
            body = {"prompt": "3", "n": 2, "num_inference_steps": steps}
            answers.append(httpx.post(f"{client.base_url}/v1/images/generations", json=body, timeout=DRAIN))
        except httpx.HTTPError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def at_work(client: httpx.Client) -> bool:
    return "sfumato_running_pictures 2.0" in client.get("/metrics").text


def test_sigterm_lets_accepted_requests_end(model: Path, tmp_path: Path) -> None:
    answers: list[httpx.Response | Exception] = []
    with process(model, tmp_path) as (server, client):
        thread = asked(client, answers, steps=300)
        wait_for(lambda: at_work(client))
        client.close()
        server.send_signal(signal.SIGTERM)
        thread.join(DRAIN)
        _, err = server.communicate(timeout=DRAIN)
    (answer,) = answers
    assert isinstance(answer, httpx.Response), answer
    assert (answer.status_code, len(answer.json()["data"])) == (200, 2)
    assert server.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == "stopped by SIGTERM"
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_sigkill_leaves_nothing_and_a_new_server_begins_afresh(model: Path, tmp_path: Path) -> None:
    answers: list[httpx.Response | Exception] = []
    with process(model, tmp_path) as (server, client):
        thread = asked(client, answers, steps=1000)
        wait_for(lambda: at_work(client))
        server.kill()
        thread.join(DRAIN)
    assert isinstance(answers[0], httpx.HTTPError)
    assert not list(tmp_path.iterdir())
    with process(model, tmp_path) as (server, client):
        made = client.post("/v1/images/generations", json={"prompt": "3"})
        assert made.status_code == 200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--host", "0.0.0.0"], 2, "give --api-key-file"),
        (["--model", "nothing"], 3, "no model 'nothing'"),
        (["--model", "digits", "--model", "digits"], 2, "--model: give each model once"),
        (["--api-key", "short"], 2, "at least 16 characters"),
        (["--api-key-file", "missing"], 2, "cannot be read as an API key"),
        (["--host", "192.0.2.1", "--api-key", "k" * 16], 1, "cannot listen on 192.0.2.1"),
        (["--device", "cuda"], 2, "--device cuda: this machine has none"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sfumato.apps.cli import main

    assert main(["serve", "--port", "0", *words]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

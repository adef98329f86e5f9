"""The server as a process: it drains when it is told to stop, and a sudden end leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from commands import write_models
from live import wait_for

DRAIN = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models")) / "digits"


@contextmanager
def process(
    model: Path, folder: Path, *more: str, drain: int = DRAIN
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "sfumato.apps.cli", "serve", "--model", str(model), "--port", "0"]
    server = subprocess.Popen(
        [*command, "--drain", str(drain), *more],
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


def begun(
    answers: list[httpx.Response | Exception], request: Callable[[], httpx.Response]
) -> threading.Thread:
    """A request that goes on in a thread of its own."""

    def ask() -> None:
        try:
            answers.append(request())
        except httpx.HTTPError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def asked(client: httpx.Client, answers: list[httpx.Response | Exception], steps: int) -> threading.Thread:
    body = {"prompt": "3", "n": 2, "num_inference_steps": steps}
    return begun(
        answers, lambda: httpx.post(f"{client.base_url}/v1/images/generations", json=body, timeout=DRAIN)
    )


def streamed(client: httpx.Client, answers: list[httpx.Response | Exception]) -> threading.Thread:
    """A stream whose picture takes long."""
    body = {"prompt": "3", "num_inference_steps": 1000, "stream": True}
    return begun(
        answers, lambda: httpx.post(f"{client.base_url}/v1/images/generations", json=body, timeout=DRAIN)
    )


def uploaded(client: httpx.Client, answers: list[httpx.Response | Exception]) -> threading.Thread:
    """An upload that does not end."""

    def slowly() -> Iterator[bytes]:
        for _ in range(DRAIN * 2):
            yield b" "
            time.sleep(0.5)

    headers = {"content-type": "application/json"}
    return begun(
        answers,
        lambda: httpx.post(
            f"{client.base_url}/v1/images/generations", content=slowly(), headers=headers, timeout=DRAIN
        ),
    )


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
    assert server.returncode == 0
    assert err.splitlines()[-1] == "stopped by SIGTERM"
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_outlives_the_drain_is_told_to_come_again(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    answers: list[httpx.Response | Exception] = []
    with process(model, tmp_path, drain=1) as (server, client):
        slow = (asked(client, answers, steps=1000), streamed(client, answers), uploaded(client, answers))
        wait_for(lambda: "sfumato_running_pictures 3.0" in client.get("/metrics").text)
        client.close()
        server.send_signal(number)
        for thread in slow:
            thread.join(DRAIN)
        _, err = server.communicate(timeout=DRAIN)
    assert server.returncode == 0
    assert err.splitlines()[-1] == f"stopped by {number.name}"
    assert "Traceback" not in err
    whole = [answer for answer in answers if isinstance(answer, httpx.Response) and answer.status_code != 200]
    assert len(whole) == 2, answers
    for answer in whole:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
    (stream,) = (answer for answer in answers if answer not in whole)
    assert isinstance(stream, httpx.Response), stream
    assert "event: error" in stream.text
    assert "not_ready" in stream.text


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

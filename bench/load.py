"""A server under load: many clients with requests of random sizes, some of which give up; then one at a time.

    python -m bench.load --clients 32 --seconds 180

It also checks that every accepted request is answered or cancelled, that every picture is of its own seed
(the library makes a share of them alone), that the queue stays within its bound, and that memory does not
grow.
"""

import argparse
import asyncio
import base64
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import torch

import sfumato as sf
from sfumato.pictures import read_picture

TOLERANCE = 1 / 127.5 + 1e-4  # 8 bits, and the batch
CHECKED = 60  # pictures that are made alone at the end


@dataclass
class Tally:
    ends: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    made: list[tuple[dict[str, Any], int, bytes]] = field(default_factory=list)  # request, which, file
    queued: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def request(dice: random.Random) -> dict[str, Any]:
    return {
        "prompt": dice.choice("0123456789"),
        "n": dice.choice([1, 1, 1, 2, 4, 10]),
        "seed": dice.randrange(2**32),
        "num_inference_steps": dice.choice([4, 8, 10, 20]),
        "user": f"client {dice.randrange(1000)}",
    }


async def client(http: httpx.AsyncClient, dice: random.Random, end: float, tally: Tally) -> None:
    """Sends requests, and now and then hangs up or cancels."""
    while time.monotonic() < end:
        wanted, mood = request(dice), dice.random()
        try:
            if mood < 0.1:  # hang up
                await asyncio.wait_for(
                    http.post("/v1/images/generations", json=wanted), timeout=dice.uniform(0.01, 0.5)
                )
                tally.ends["answered before it hung up"] += 1
            elif mood < 0.2:  # cancel
                tally.ends[await cancelled(http, dice, wanted)] += 1
            else:
                answer = await http.post("/v1/images/generations", json=wanted)
                if answer.status_code == 429:
                    tally.ends["refused for now"] += 1
                    await asyncio.sleep(min(5.0, float(answer.headers["retry-after"])))
                    continue
                answer.raise_for_status()
                data = answer.json()["data"]
                assert len(data) == wanted["n"]
                tally.ends["answered"] += 1
                tally.pictures += len(data)
                which = dice.randrange(len(data))
                tally.made.append((wanted, which, base64.b64decode(data[which]["b64_json"])))
        except TimeoutError:
            tally.ends["hung up"] += 1


async def cancelled(http: httpx.AsyncClient, dice: random.Random, wanted: dict[str, Any]) -> str:
    recipe = {
        "expression": {"prompt": wanted["prompt"]},
        "seed": wanted["seed"],
        "count": wanted["n"],
        "steps": wanted["num_inference_steps"],
    }
    answer = await http.post("/v1/recipes", json={"recipe": recipe, "background": True})
    if answer.status_code == 429:
        return "refused for now"
    answer.raise_for_status()
    job = f"/v1/jobs/{answer.json()['id']}"
    await asyncio.sleep(dice.uniform(0, 0.5))
    await http.delete(job)
    while (status := (await http.get(job)).json()["status"]) in {"queued", "running"}:
        await asyncio.sleep(0.05)
    return f"cancelled: {status}"


async def watch(http: httpx.AsyncClient, process: psutil.Process, end: float, tally: Tally) -> None:
    while time.monotonic() < end:
        text = (await http.get("/metrics")).text
        lines = (line for line in text.splitlines() if line.startswith("sfumato_queue_pictures "))
        tally.queued.append(float(next(lines).split()[-1]))
        tally.megabytes.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(0.5)


async def load(url: str, pid: int, clients: int, seconds: float, seed: int) -> Tally:
    """Runs the clients for this many seconds."""
    tally = Tally()
    limits = httpx.Limits(max_connections=clients + 8)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as http:
        end = time.monotonic() + seconds
        await asyncio.gather(
            watch(http, psutil.Process(pid), end, tally),
            *(client(http, random.Random(1000 * seed + i), end, tally) for i in range(clients)),
        )
        for _ in range(600):  # until every accepted request has ended
            text = (await http.get("/metrics")).text
            if "sfumato_queue_pictures 0.0" in text and "sfumato_running_pictures 0.0" in text:
                return tally
            await asyncio.sleep(0.1)
    raise AssertionError("something accepted never ended")


def alone(url: str, seconds: float, seed: int) -> float:
    """Pictures a minute of one client that asks for one picture at a time."""
    dice, made, start = random.Random(seed), 0, time.monotonic()
    with httpx.Client(base_url=url, timeout=600) as http:
        while time.monotonic() - start < seconds:
            wanted = request(dice) | {"n": 1}
            http.post("/v1/images/generations", json=wanted).raise_for_status()
            made += 1
    return 60 * made / (time.monotonic() - start)


def mixed_up(model: sf.Model, tally: Tally, seed: int) -> int:
    """How many pictures of a share differ from those that the library makes of their seeds."""
    wrong = 0
    sample = random.Random(seed).sample(tally.made, min(CHECKED, len(tally.made)))
    for wanted, which, data in sample:
        x = sf.sample(
            model,
            wanted["prompt"],
            seed=(wanted["seed"] + which) % 2**64,
            steps=wanted["num_inference_steps"],
        ).x
        wrong += bool((read_picture(data) - x).abs().max() > TOLERANCE)
    print(f"of {len(sample)} pictures made alone again, {wrong} differ")
    return wrong


def start_server(model: str, queue: int, max_rows: int) -> tuple[subprocess.Popen[str], str]:
    words = ["serve", "--model", model, "--port", "0", "--queue", str(queue), "--max-rows", str(max_rows)]
    server = subprocess.Popen(
        [sys.executable, "-m", "sfumato.apps.cli", *words], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert server.stderr is not None
    url = server.stderr.readline().split()[-1]
    threading.Thread(target=server.stderr.read, daemon=True).start()  # so that its log finds room
    while True:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return server, url
        except httpx.HTTPError:
            assert server.poll() is None, "the server has ended"
        time.sleep(0.1)


def main(args: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="digits")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--max-rows", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(args)
    server, url = start_server(given.model, given.queue, given.max_rows)
    try:
        single = alone(url, max(2.0, given.seconds / 6), given.seed)
        tally = asyncio.run(load(url, server.pid, given.clients, given.seconds, given.seed))
        single = (single + alone(url, max(2.0, given.seconds / 6), given.seed)) / 2  # before and after
    finally:
        server.terminate()
        server.communicate(timeout=60)
    torch.set_num_threads(1)
    together = 60 * tally.pictures / given.seconds
    third = max(1, len(tally.megabytes) // 3)
    grown = max(tally.megabytes[-third:]) - max(tally.megabytes[third : 2 * third] or tally.megabytes)
    for kind, count in sorted(tally.ends.items()):
        print(f"{kind}: {count}")
    figures = {
        "pictures a minute, all clients": together,
        "pictures a minute, one at a time": single,
        "ratio": together / single,
        "longest queue": max(tally.queued),
        "bound of the queue": given.queue,
        "memory, MB": max(tally.megabytes),
        "grown in the last third, MB": grown,
        "not their own": mixed_up(sf.load(given.model), tally, given.seed),
    }
    for name, value in figures.items():
        print(f"{name}: {value:.2f}")
    return figures


if __name__ == "__main__":
    main()

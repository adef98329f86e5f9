"""Works measured in turn, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], object]


def in_turn(works: Mapping[str, Work], repeats: int, device: torch.device) -> dict[str, float]:
    """Seconds of each work, the median of so many rounds through all; a first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work, device))
    return {name: statistics.median(found) for name, found in times.items()}


def seconds(work: Work, device: torch.device) -> float:
    """How long one call takes, to the end of what it started on the device."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(make: Callable[..., Work], *args: Any) -> float:
    """The most memory, in MB, that a process of its own had which made a work of `args` and did it once."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_peak, make, *args).result()


def _peak(make: Callable[..., Work], *args: Any) -> float:
    make(*args)()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(
            "VmHWM:"
        ):  # unlike ru_maxrss it knows nothing of the process that started this one
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this system does not tell a process its peak memory")

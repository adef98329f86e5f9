"""Times of works that run in turn, so that other load of the machine affects all of them alike."""

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
    """Seconds of each work: the median over `repeats` rounds through all works, after a first round."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work, device))
    return {name: statistics.median(found) for name, found in times.items()}


def seconds(work: Work, device: torch.device) -> float:
    """Seconds of one call, until the device has finished."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(make: Callable[..., Work], *args: Any) -> float:
    """The peak memory in MB of a new process that makes a work of `args` and runs it once."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_peak, make, *args).result()


def _peak(make: Callable[..., Work], *args: Any) -> float:
    make(*args)()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):  # ru_maxrss would count the process that started this one
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this system does not tell a process its peak memory")

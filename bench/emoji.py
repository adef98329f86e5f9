"""The speed of the text-to-image model: one picture, batches, and a command line with its start.

python -m bench.emoji [--float32] [--repeats 3]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

import sfumato as sf
from bench.timing import Work, in_turn, peak_memory, seconds

BATCHES = (1, 4, 16)
PROMPT = "a rocket"


def work(batch: int, dtype: torch.dtype) -> Work:
    """Pictures of one prompt with the model's defaults, each with a seed of its own."""
    model = sf.load("emoji", dtype=dtype)
    return lambda: sf.sample(model, sf.prompt(PROMPT), seed=0, count=batch)


def first_picture(dtype: str) -> float:
    """Seconds from the start of the command to its end, the picture written."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sfumato.apps.cli", "generate", PROMPT, "--dtype", dtype]
        command += ["-o", str(Path(folder, "rocket.png"))]
        return seconds(partial(subprocess.run, command, check=True, capture_output=True), torch.device("cpu"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--float32", action="store_true", help="instead of bfloat16")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    dtype = torch.float32 if args.float32 else torch.bfloat16
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {dtype}")
    times = in_turn({str(batch): work(batch, dtype) for batch in BATCHES}, args.repeats, torch.device("cpu"))
    for batch in BATCHES:
        took = times[str(batch)]
        peak = peak_memory(work, batch, dtype)
        each, rate = took / batch, 60 * batch / took
        print(f"batch {batch}: {each:.2f} s a picture, {rate:.0f} pictures a minute, {peak:.0f} MB")
    starts = [first_picture(str(dtype).removeprefix("torch.")) for _ in range(args.repeats)]
    print(f"command line, start to picture: {', '.join(f'{start:.1f}' for start in starts)} s")


if __name__ == "__main__":
    main()

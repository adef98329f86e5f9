"""The times of sfumato's sampler against those of diffusers' pipelines and of calls branch by branch.

    python -m bench                       the tables of a CPU, or of a GPU where there is one
    python -m bench --size toy            the same code in seconds, on toys
    python -m bench --part rows           one table alone

Times are medians of works that ran in turn in this process: compare ratios, not seconds. Memory is the peak
of a process of its own for each work, with loading.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import sfumato as sf
from bench import folders, pipelines, rows, throughput
from sfumato.apps.cli.devices import find_device
from sfumato.models.runtime.placement import computes_in
from sfumato.models.runtime.runner import BUCKETS

PARTS = ("pipelines", "memory", "rows", "throughput")
CONSOLE = Console(width=110)


def main(given: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="by default those of the device")
    parser.add_argument("--size", choices=("full", "toy"), default="full")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeats", type=int, default=5, help="rounds through the works of a table")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also both with torch.compile; takes minutes",
    )
    args = parser.parse_args(given)
    device = find_device(args.device)
    dtype = torch.bfloat16 if computes_in(device, torch.bfloat16) else torch.float32
    parts = args.part or (PARTS if device.type == "cuda" else PARTS[:3])
    CONSOLE.print(
        f"torch {torch.__version__}, {_named(device)}, {str(dtype).removeprefix('torch.')}, {args.size}"
    )
    toy = args.size == "toy"
    with tempfile.TemporaryDirectory() as root:
        os.environ["SFUMATO_CACHE"] = str(Path(root, "cache"))
        if parts != ["throughput"]:
            cifar = folders.cifar(Path(root, "cifar"), toy=toy)
            deepfloyd = folders.deepfloyd(Path(root, "deepfloyd"), "toy" if toy else "m")
            titles = {
                "UNet2DModel of CIFAR-10": (cifar, 2 if toy else 20),
                "DeepFloyd IF stage I, guidance 7": (deepfloyd, 2),
            }
        if "pipelines" in parts:
            for title, (network, steps) in titles.items():
                print_pipelines(title, network, args, device, dtype, steps=steps)
        if "memory" in parts:
            for title, (network, _) in titles.items():
                print_memory(title, network, device, dtype)
        if "rows" in parts:
            model = sf.load("digits", device=device)
            print_rows("digits, 20 steps, float32", model, ("6", "9"), args, steps=2 if toy else 20)
            model = sf.load(str(deepfloyd.folder), device=device, dtype=dtype, embeddings=[deepfloyd.prompts])
            texts = folders.PROMPT, folders.OTHER
            print_rows("DeepFloyd IF stage I, 2 steps", model, texts, args, steps=2)
        if "throughput" in parts:
            for size in ("toy",) if toy else ("l", "xl"):
                network = folders.deepfloyd(Path(root, size), size, dtype=dtype)
                print_throughput(size, network, args, device, dtype)


def print_pipelines(
    title: str,
    network: folders.Network,
    args: argparse.Namespace,
    device: torch.device,
    dtype: torch.dtype,
    *,
    steps: int,
) -> None:
    """The times of every side, and their ratios to ours."""
    found = pipelines.times(
        network,
        steps=steps,
        repeats=args.repeats,
        device=str(device),
        dtype=dtype,
        compile=args.compile,
    )
    about = f"{network.parameters / 1e6:.1f} M, batch 1, {steps} steps"
    table = Table(about, "ms a step", "to sfumato's", title=title)
    for name, taken in found.items():
        ratio = taken / found[pipelines.OURS]
        table.add_row(name, f"{taken / steps * 1e3:.1f}", f"{ratio:.2f}")
    CONSOLE.print(table)


def print_memory(title: str, network: folders.Network, device: torch.device, dtype: torch.dtype) -> None:
    """The peak memory of every side, in a process of its own."""
    table = Table("a process that loads it and makes a picture", "peak MB", title=title)
    for name, peak in pipelines.memory(network, device=str(device), dtype=dtype).items():
        table.add_row(name, f"{peak:.0f}")
    CONSOLE.print(table)


def print_rows(
    title: str, model: sf.Model, prompts: tuple[str, str], args: argparse.Namespace, *, steps: int
) -> None:
    """One batched forward pass against a forward pass for each branch."""
    found = rows.measure(model, prompts, pictures=1, steps=steps, repeats=args.repeats)
    table = Table("one picture", "together, s", "branch by branch, s", "ratio", title=title)
    for name, (together, apart) in found.items():
        table.add_row(name, f"{together:.3f}", f"{apart:.3f}", f"{apart / together:.2f}")
    CONSOLE.print(table)


def print_throughput(
    size: str, network: folders.Network, args: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> None:
    """Rows per second by the number of rows in a forward pass."""
    toy = size == "toy"
    peak = throughput.matrix_peak(device, dtype, side=256 if toy else 8192, repeats=args.repeats)
    about = f"{network.parameters / 1e9:.2f} B, {network.operations / 1e9:.0f} GFLOP a row"
    table = Table(
        "rows together",
        "rows/s",
        "of the matrix peak",
        title=f"IF-I-{size.upper()}, {about}; measured peak {peak / 1e12:.2f} TFLOP/s",
    )
    choice = "on" if args.compile else "off"
    model = sf.load(
        str(network.folder), device=device, dtype=dtype, embeddings=[network.prompts], compile=choice
    )
    for together in BUCKETS[:2] if toy else BUCKETS[::2]:
        rate = throughput.rows_per_second(model, together, repeats=args.repeats)
        table.add_row(str(together), f"{rate:.1f}", f"{rate * network.operations / peak:.1%}")
    CONSOLE.print(table)


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()

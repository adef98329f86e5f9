"""What it saves to answer a step's questions together: one batched forward against branch by branch.

    python bench/rows.py [--model digits] [--pictures 1] [--repeats 5]

Both sides run the same network on the same rows in the same process; the ratio is of their medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

import sfumato as sf
from sfumato.core.frame import Condition
from sfumato.core.prediction import Estimate


class BranchByBranch:
    """The same network, called once for every question, as code without an engine does."""

    def __init__(self, model: sf.Model, pictures: int) -> None:
        self.model, self.pictures = model, pictures

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: Sequence[Condition]) -> Estimate:
        n = self.pictures
        rows = [slice(i, i + n) for i in range(0, len(x), n)]
        parts = [self.model.denoise(x[r], t[r], conditions[r]) for r in rows]
        return Estimate(x0=torch.cat([part.x0 for part in parts]))


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--pictures", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = sf.load(args.model)
    apart = BranchByBranch(model, args.pictures)
    work = {
        "guided": sf.prompt("7").guided(3),
        "guided hybrid": sf.hybrid(far="3", near="8").guided(3),
        "guided anagram": sf.anagram("6", "9", view="rotate_180").guided(3),
    }
    print(f"{args.model}, {args.pictures} picture(s), 20 steps, {torch.get_num_threads()} threads")
    print(f"{'expression':<16} {'together':>10} {'apart':>10} {'ratio':>7}")
    for name, e in work.items():
        settings = {"seed": 0, "count": args.pictures, "steps": 20}
        together = seconds(partial(sf.sample, model, e, **settings), args.repeats)
        branches = seconds(partial(sf.sample, apart, e, **settings), args.repeats)
        print(f"{name:<16} {together:>8.3f} s {branches:>8.3f} s {branches / together:>6.2f}x")


if __name__ == "__main__":
    main()

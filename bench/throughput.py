"""Rows of a network per second, and what share of the measured peak of matrix products that is."""

from __future__ import annotations

import torch

import sfumato as sf
from bench.folders import PROMPT
from bench.timing import in_turn
from sfumato.core.frame import Prompt


def matrix_peak(device: torch.device, dtype: torch.dtype, *, side: int, repeats: int) -> float:
    """Operations per second of a product of two square matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / in_turn({"product": lambda: a @ b}, repeats, device)["product"]


def rows_per_second(model: sf.Model, rows: int, *, repeats: int) -> float:
    """Rows that the network answers in a second, so many together."""
    asked = _asked(model, rows)
    return rows / in_turn({"rows": lambda: model.denoise(*asked)}, repeats, model.device)["rows"]


def _asked(model: sf.Model, rows: int) -> tuple[torch.Tensor, torch.Tensor, list[Prompt]]:
    x = torch.randn((rows, *model.state_shape), generator=torch.Generator().manual_seed(0))
    return x.to(model.device), torch.full((rows,), 0.5, device=model.device), [Prompt(PROMPT)] * rows

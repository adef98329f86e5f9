"""Rows of a network per second, and their share of the measured peak of matrix products."""

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
    """Rows per second in forward passes of `rows` rows."""
    inputs = _inputs(model, rows)
    return rows / in_turn({"rows": lambda: model.denoise(*inputs)}, repeats, model.device)["rows"]


def _inputs(model: sf.Model, rows: int) -> tuple[torch.Tensor, torch.Tensor, list[Prompt]]:
    x = torch.randn((rows, *model.state_shape), generator=torch.Generator().manual_seed(0))
    return x.to(model.device), torch.full((rows,), 0.5, device=model.device), [Prompt(PROMPT)] * rows

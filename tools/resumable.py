"""A training that is kept after each epoch and goes on where it was stopped."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.errors import SfumatoError


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training is kept, and what it is a training of: its data and its settings, as text."""

    path: Path
    of: str

    def keep(
        self,
        epoch: int,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        rate: torch.optim.lr_scheduler.LRScheduler,
        generator: torch.Generator,
    ) -> None:
        """Write all that the next epoch needs; the file is replaced whole."""
        state = {
            "of": self.of,
            "epoch": epoch,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rate": rate.state_dict(),
            "generator": generator.get_state(),
        }
        new = self.path.with_name(self.path.name + ".new")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, new)
        new.replace(self.path)

    def restore(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        rate: torch.optim.lr_scheduler.LRScheduler,
        generator: torch.Generator,
    ) -> int:
        """The last epoch that was kept, whose state is put back; 0 where none was.

        Raises:
            SfumatoError: the file is damaged, or is of another training.
        """
        if not self.path.exists():
            return 0
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise SfumatoError(f"{self.path} is damaged: remove it to begin anew") from error
        if not isinstance(state, dict) or state.get("of") != self.of:
            raise SfumatoError(f"{self.path} is of another training: remove it to begin anew")
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        rate.load_state_dict(state["rate"])
        generator.set_state(state["generator"])
        epoch: int = state["epoch"]
        return epoch

    def remove(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)

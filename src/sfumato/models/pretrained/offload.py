"""Networks that wait in the CPU's memory while a GPU computes another one or another layer: speed.Offload."""

from __future__ import annotations

import torch
from torch import nn

from sfumato.models.pretrained.loading import import_library


class Berth:
    """The place on a device that networks take in turn."""

    def __init__(self) -> None:
        self._holder: nn.Module | None = None

    def take(self, network: nn.Module, device: torch.device) -> None:
        """Bring a network to the device; the one that was there goes to the CPU's memory first."""
        if self._holder is network:
            return
        self.leave()
        network.to(device)
        self._holder = network

    def leave(self) -> None:
        """Send the network that is on the device to the CPU's memory."""
        if self._holder is not None:
            self._holder.to("cpu")
        self._holder = None

    def forget(self, network: nn.Module) -> None:
        """A network is no longer there."""
        if self._holder is network:
            self._holder = None


def by_layers(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, in the CPU's memory, each of its layers computed on the device (by accelerate)."""
    offloaded: nn.Module = import_library("accelerate").cpu_offload(
        network, execution_device=device, offload_buffers=True
    )
    return offloaded

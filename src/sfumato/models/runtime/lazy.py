"""Networks that are loaded when they are first needed, and those that share one place on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sfumato.errors import ModelUnavailableError
from sfumato.models.runtime.placement import Placement
from sfumato.models.runtime.runner import NetworkRunner, Runner

# How a network is called with the arguments of a model: (the network, *arguments) -> its answer.
Call = Callable[..., Any]


class DeviceSlot:
    """One place on a device that networks take in turn; the others wait in the CPU's memory."""

    def __init__(self) -> None:
        self._holder: nn.Module | None = None

    def take(self, network: nn.Module, device: torch.device) -> None:
        """Bring a network to the device; the one that was there goes to the CPU's memory first."""
        if self._holder is network:
            return
        if self._holder is not None:
            self._holder.to("cpu")
        network.to(device)
        self._holder = network

    def forget(self, network: nn.Module) -> None:
        """A network is no longer there."""
        if self._holder is network:
            self._holder = None


class LazyNetwork(NetworkRunner):
    """A network that is loaded at its first call.

    Prompts are encoded before that, so that text encoder and network never share the memory.

    load     (device=, dtype=) -> the network, there, its weights held in that dtype
    call     turns the arguments of a model into those of the network; None calls it as it is
    weights  how many it has
    """

    def __init__(
        self,
        load: Callable[..., nn.Module],
        placement: Placement,
        *,
        call: Call | None = None,
        weights: int | None = None,
    ) -> None:
        self._load, self._call, self.weights = load, call, weights
        self._slot = DeviceSlot()
        self._expected = 0
        self._runner: Runner | None = None
        self.place(placement)

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return self._runner is not None

    def module(self) -> nn.Module:
        """The network, on its device, as it is run."""
        return self.runner().module()

    def runner(self) -> Runner:
        """What runs the network, which is loaded and brought to its device for it."""
        if self._runner is None:
            waits = self.placement.offload != "no"
            network = self._load(device="cpu" if waits else self.device, dtype=self.dtype)
            if self.placement.offload == "layers":
                network = by_layers(network, self.device)
            self._runner = Runner(network, self.placement, owned=True, placed=waits)
            self._runner.plan_rows(self._expected)
        if self.placement.offload == "network":
            self._slot.take(self._runner.network, self.device)
        return self._runner

    def share_slot(self, other: LazyNetwork) -> None:
        """Be on the device in turn with another network, where networks are offloaded."""
        self._slot = other._slot

    def __call__(self, *args: Any, **named: Any) -> Any:
        runner = self.runner()
        return runner(*args, **named) if self._call is None else self._call(runner, *args, **named)

    def place(self, placement: Placement) -> None:
        """As `NetworkRunner.place`: what was in memory is loaded again when it is next needed."""
        self.placement = placement
        self.device, self.dtype = torch.device(placement.device), placement.dtype
        self.unload()

    def plan_rows(self, rows: int) -> None:
        self._expected = max(self._expected, rows)
        if self._runner is not None:
            self._runner.plan_rows(rows)

    def unload(self) -> None:
        if self._runner is not None:
            self._slot.forget(self._runner.network)
        self._runner = None


def by_layers(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, in the CPU's memory, each of its layers computed on the device (by accelerate)."""
    try:
        from accelerate import cpu_offload
    except ImportError as error:
        raise ModelUnavailableError(
            "offload layers needs accelerate: pip install 'sfumato[pretrained]'"
        ) from error
    offloaded: nn.Module = cpu_offload(network, execution_device=device, offload_buffers=True)
    return offloaded

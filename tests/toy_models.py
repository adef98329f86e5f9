"""Models for the worker and the server: tiny, of random weights, watched, stepped where a test wants it."""

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sfumato.core.frame import Condition, Label, Prompt
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Flow
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.model import Model
from sfumato.models.networks.names import build_network


class WatchedModel(Model):
    """Digits of random weights. "8" answers NaN, "9" raises; with a gate each forward waits to be let in."""

    def __init__(
        self, name: str = "toy", *, gated: bool = False, shape: tuple[int, int, int] = (1, 16, 16)
    ) -> None:
        torch.manual_seed(0)
        network = build_network(
            "residual", {"width": 16, "deep": 32, "middle": 1, "classes": 10, "side": shape[1]}
        )
        for parameter in network.parameters():  # the new network is the zero function
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        super().__init__(
            network,
            name=name,
            schedule=Flow(),
            prediction="flow",
            shape=shape,
            defaults=SamplingDefaults(steps=4, guidance=2.0, clip=True),
            classes=10,
        )
        self.forwards: list[list[str]] = []  # what each forward was asked
        self.gate = threading.Semaphore(0)
        self.gated = gated

    def denoise(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Estimate:
        if self.gated:
            self.gate.acquire()
        asked = [_word(condition) for condition in conditions]
        self.forwards.append(asked)
        if "9" in asked:
            raise RuntimeError("secret internals: 9")
        estimate = super().denoise(x, t, conditions)
        bad = torch.tensor([word == "8" for word in asked])[:, None, None, None]
        return Estimate(x0=estimate.x0.masked_fill(bad, float("nan")))

    def open(self) -> None:
        """Let everything in from now on."""
        self.gated = False
        self.gate.release(10_000)


class TrivialModel(WatchedModel):
    """Its estimate is the noisy picture: it costs next to nothing."""

    def denoise(self, x: Tensor, *_: object) -> Estimate:
        return Estimate(x0=x)


def loader(model: Model) -> Callable[[], Model]:
    return lambda: model


def _word(condition: Condition) -> str:
    match condition:
        case Prompt(text):
            return text
        case Label(index):
            return str(index)
    return ""

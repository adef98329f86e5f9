"""Networks that wait in the CPU's memory: in turn, or layer by layer; refused where that has no effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import sfumato as sf
import tiny_pipelines as tiny
from sfumato.errors import UsageError
from sfumato.models.runtime.lazy import DeviceSlot, by_layers
from sfumato.models.runtime.placement import Placement
from sfumato.models.runtime.runner import Runner

CPU = torch.device("cpu")


class Moved(nn.Module):
    """A network that notes where it is sent."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def to(self, device: object) -> Moved:  # type: ignore[override]
        self.log.append(f"{self.name} to {device}")
        return self


def test_networks_take_turns_on_the_device() -> None:
    log: list[str] = []
    one, other, slot, gpu = Moved("one", log), Moved("other", log), DeviceSlot(), torch.device("cuda")
    for network in (one, one, other, one):
        slot.take(network, gpu)
    assert log == ["one to cuda", "one to cpu", "other to cuda", "other to cpu", "one to cuda"]
    slot.forget(one)  # unloaded: nothing is left to be sent away
    slot.take(other, gpu)
    assert log[5:] == ["other to cuda"]


def test_layer_by_layer_is_the_same_answer() -> None:
    unet = tiny.if_unet(16, upscales=False).eval().requires_grad_(False)
    x, t, text = torch.randn(2, 3, 16, 16), torch.full((2,), 500.0), torch.randn(2, 77, tiny.WIDTH)
    with torch.inference_mode():
        plain = unet(x, t, text, return_dict=False)[0]
        moved = Runner(by_layers(unet, CPU), Placement(compile="off"), placed=True)(
            x, t, text, return_dict=False
        )[0]
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-4)


@pytest.fixture
def latent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sf.Model:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    return sf.load(str(tiny.stable_diffusion(tmp_path / "sd")))


class Unchecked(Placement):
    """Offloading on a CPU, which is refused: here for want of a GPU."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", CPU)


def test_a_latent_model_has_its_networks_on_the_device_in_turn(
    latent: sf.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sf.sample(latent, "a rocket", seed=1, steps=2).x
    latent.place(Unchecked(offload="network"))
    taken: list[str] = []
    take = DeviceSlot.take

    def noted(self: DeviceSlot, network: nn.Module, device: torch.device) -> None:
        if network is not self._holder:
            taken.append(type(network).__name__)
        take(self, network, device)

    monkeypatch.setattr(DeviceSlot, "take", noted)
    assert torch.equal(sf.sample(latent, "a rocket", seed=1, steps=2).x, plain)
    assert taken == ["UNet2DConditionModel", "AutoencoderKL"]


@pytest.mark.parametrize("choice", ["network", "layers"])
def test_offloading_is_refused_where_it_has_no_effect(choice: str) -> None:
    with pytest.raises(UsageError, match="on a CPU leave it out"):
        Placement(offload=choice)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="on a CPU leave it out"):
        sf.load("digits", offload=choice)  # type: ignore[arg-type]


def test_choices_that_do_not_go_together_are_refused() -> None:
    assert Placement(device="cuda", offload="layers").offload == "layers"
    with pytest.raises(UsageError, match="there are no, network, layers"):
        Placement(device="cuda", offload="some")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not go with compile on"):
        Placement(device="cuda", offload="layers", compile="on")

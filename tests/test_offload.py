"""Networks that wait in the CPU's memory: in turn, or layer by layer; refused where that has no effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import sfumato as sf
import tiny_pipelines as tiny
from sfumato.errors import UsageError
from sfumato.models.pretrained.offload import Berth, by_layers
from sfumato.models.pretrained.stable_diffusion import LatentModel
from sfumato.models.pretrained.text import TextModel
from sfumato.models.runtime.runner import Runner, check_offload

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
    one, other, berth, gpu = Moved("one", log), Moved("other", log), Berth(), torch.device("cuda")
    for network in (one, one, other, one):
        berth.take(network, gpu)
    assert log == ["one to cuda", "one to cpu", "other to cuda", "other to cpu", "one to cuda"]
    berth.forget(one)  # unloaded: nothing is left to be sent away
    berth.take(other, gpu)
    assert log[5:] == ["other to cuda"]


def test_layer_by_layer_is_the_same_answer() -> None:
    unet = tiny.if_unet(16, upscales=False).eval().requires_grad_(False)
    x, t, text = torch.randn(2, 3, 16, 16), torch.full((2,), 500.0), torch.randn(2, 77, tiny.WIDTH)
    with torch.inference_mode():
        plain = unet(x, t, text, return_dict=False)[0]
        moved = Runner(by_layers(unet, CPU), device=CPU, dtype=torch.float32, compile="off", placed=True)(
            x, t, text, return_dict=False
        )[0]
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-4)


@pytest.fixture
def latent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatentModel:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    model = sf.load(str(tiny.stable_diffusion(tmp_path / "sd")))
    assert isinstance(model, LatentModel)
    return model


def test_a_latent_model_has_its_networks_on_the_device_in_turn(
    latent: LatentModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sf.sample(latent, "a rocket", seed=1, steps=2).x
    monkeypatch.setattr("sfumato.models.pretrained.text.check_offload", lambda choice, *_: choice)
    latent.to("cpu", offload="network")  # refused by the true check: here for want of a GPU
    taken: list[str] = []
    take = Berth.take

    def noted(self: Berth, network: nn.Module, device: torch.device) -> None:
        if network is not self._holder:
            taken.append(type(network).__name__)
        take(self, network, device)

    monkeypatch.setattr(Berth, "take", noted)
    assert torch.equal(sf.sample(latent, "a rocket", seed=1, steps=2).x, plain)
    assert taken == ["UNet2DConditionModel", "AutoencoderKL"]


@pytest.mark.parametrize("choice", ["network", "layers"])
def test_offloading_is_refused_where_it_has_no_effect(latent: LatentModel, choice: str) -> None:
    with pytest.raises(UsageError, match="on a CPU leave it out"):
        latent.to("cpu", offload=choice)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="on a CPU leave it out"):
        sf.load("digits", offload=choice)  # type: ignore[arg-type]
    assert isinstance(latent, TextModel)
    assert latent.unet._offload == "no"


def test_choices_that_do_not_go_together_are_refused() -> None:
    gpu = torch.device("cuda")
    assert check_offload("layers", gpu, "auto") == "layers"
    with pytest.raises(UsageError, match="there are no, network, layers"):
        check_offload("some", gpu, "auto")
    with pytest.raises(UsageError, match="does not go with compile on"):
        check_offload("layers", gpu, "on")

"""Blocks of diffusers answer the same with fewer operations; those that are not known run as they are."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

import tiny_pipelines as tiny
from sfumato.models.pretrained.blocks import PositionAttention, ResidualBlock
from sfumato.models.runtime.packing import PackedLinear, Packing, adapted, can_pack

pytestmark = pytest.mark.skipif(not can_pack(torch.float32), reason="this build of torch packs nothing")
CPU = torch.device("cpu")
USUAL: dict[str, Any] = {"in_channels": 16, "temb_channels": 24, "groups": 4}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "wider": {"out_channels": 32},
    "larger": {"up": True},
    "smaller": {"down": True, "out_channels": 8},
    "scaled": {"time_embedding_norm": "scale_shift", "non_linearity": "gelu"},
    "scaled and larger": {"time_embedding_norm": "scale_shift", "up": True, "non_linearity": "gelu"},
    "skipping": {"time_embedding_norm": "scale_shift", "skip_time_act": True},
}
OTHERS: dict[str, dict[str, Any]] = {
    "timeless": {"temb_channels": None},
    "divided": {"output_scale_factor": 2.0},
    "mish": {"non_linearity": "mish"},
}


class Chain(nn.Module):
    """Three blocks of a configuration, one after another, each told the same embedding."""

    def __init__(self, **configuration: Any) -> None:
        super().__init__()
        settings = USUAL | configuration
        more = settings | {"in_channels": settings.get("out_channels") or settings["in_channels"]}
        self.blocks = nn.ModuleList(ResnetBlock2D(**s) for s in (settings, more, more))

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x


def shaken(network: nn.Module) -> nn.Module:
    """With norms that are not the identity, as after a training."""
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval().requires_grad_(False)


def asked(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 16, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(rows, 24, generator=generator)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_residual_blocks_answer_the_same(name: str, given: bool) -> None:
    torch.manual_seed(0)
    network = shaken(Chain(**CONFIGURATIONS[name]))
    true, ready = deepcopy(network), adapted(network, CPU, torch.float32, owned=given)
    assert all(type(block) is ResidualBlock for block in ready.get_submodule("blocks").children())
    with torch.inference_mode():
        for rows, seed in ((1, 0), (3, 1), (1, 2)):
            x, embedding = asked(rows, seed)
            torch.testing.assert_close(ready(x, embedding), true(x, embedding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_other_blocks_run_as_they_are_written(name: str) -> None:
    network = shaken(Chain(**OTHERS[name]))
    true, ready = deepcopy(network), adapted(network, CPU, torch.float32, owned=True)
    assert all(type(block) is ResnetBlock2D for block in ready.get_submodule("blocks").children())
    x, embedding = asked(2, 0)
    told = None if name == "timeless" else embedding
    with torch.inference_mode():
        torch.testing.assert_close(ready(x, told), true(x, told), rtol=1e-4, atol=1e-4)


def test_time_is_projected_once_in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = adapted(shaken(Chain()), CPU, torch.float32, owned=True)
    calls: list[tuple[int, ...]] = []
    forward = PackedLinear.forward

    def counted(self: PackedLinear, x: Tensor) -> Tensor:
        calls.append(tuple(x.shape))
        return forward(self, x)

    monkeypatch.setattr(PackedLinear, "forward", counted)
    x, embedding = asked(2, 0)
    with torch.inference_mode():
        ready(x, embedding)
        assert calls == [(2, 24)]
        ready(x, embedding.clone())
        assert calls == [(2, 24)] * 2


def test_an_embedding_that_was_written_into_is_another() -> None:
    network = shaken(Chain())
    true, ready = deepcopy(network), adapted(network, CPU, torch.float32, owned=True)
    x, embedding = asked(2, 0)
    with torch.no_grad():
        ready(x, embedding)
        embedding += 1
        torch.testing.assert_close(ready(x, embedding), true(x, embedding), rtol=1e-4, atol=1e-4)


def test_blocks_follow_weights_that_are_changed() -> None:
    network = shaken(Chain())
    ready = adapted(network, CPU, torch.float32, owned=False)
    x, embedding = asked(1, 0)
    with torch.no_grad():
        ready(x, embedding)
        torch._foreach_mul_(list(network.parameters()), 1.5)
        other = embedding.clone()
        torch.testing.assert_close(ready(x, other), network(x, other), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("biased", [False, True])
def test_positions_attend_the_same(biased: bool) -> None:
    attention = shaken(
        Attention(16, heads=2, dim_head=8, norm_num_groups=4, residual_connection=True, bias=biased)
    )
    ready = Packing(torch.float32, owned=False).ready(attention)
    assert type(ready) is PositionAttention
    x, _ = asked(3, 0)
    with torch.inference_mode():
        torch.testing.assert_close(ready(x, temb=None), attention(x, temb=None), rtol=1e-4, atol=1e-4)
    assert hasattr(attention, "to_q")


def test_tokens_attend_the_same_and_words_as_they_did() -> None:
    x, words = torch.randn(2, 20, 16), torch.randn(2, 5, 12)
    tokens = shaken(Attention(16, heads=2, dim_head=8))
    across = shaken(Attention(16, cross_attention_dim=12, heads=2, dim_head=8))
    packing = Packing(torch.float32, owned=False)
    one, other = packing.ready(tokens), packing.ready(across)
    assert isinstance(one.processor, FusedAttnProcessor2_0)
    assert not isinstance(other.processor, FusedAttnProcessor2_0)
    with torch.inference_mode():
        torch.testing.assert_close(one(x), tokens(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(other(x, words), across(x, words), rtol=1e-4, atol=1e-4)


def test_a_network_of_diffusers_runs_on_these_blocks_and_keeps_no_weights_twice() -> None:
    unet = tiny.if_unet(16, upscales=False).eval().requires_grad_(False)
    blocks = sum(type(module) is ResnetBlock2D for module in unet.modules())
    ready = adapted(unet, CPU, torch.float32, owned=True)
    x, text = torch.randn(2, 3, 16, 16), torch.randn(2, 5, unet.config.encoder_hid_dim)
    with torch.inference_mode():
        ready(x, torch.full((2,), 400.0), text)
    assert blocks == sum(type(module) is ResidualBlock for module in ready.modules()) > 0
    (times,) = {module._times for module in ready.modules() if type(module) is ResidualBlock}
    assert times._layers == []

"""How networks are run: packed, cast, compiled or plain, they answer the same; padding changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
import tiny_pipelines as tiny
from sfumato.core.frame import Label, Unconditional
from sfumato.core.schedule import Flow
from sfumato.errors import UsageError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.models.networks.residual import ResidualUNet
from sfumato.models.networks.unet import ClassicUNet
from sfumato.models.runtime import packing, placement
from sfumato.models.runtime import runner as speed
from sfumato.models.runtime.packing import PackedConv2d, PackedLinear, TokenGroupNorm, can_pack
from sfumato.models.runtime.placement import Placement, compiler_missing
from sfumato.models.runtime.runner import BUCKETS, Runner, bucket, on_tensors, padded

CPU = torch.device("cpu")
needs_packing = pytest.mark.skipif(not can_pack(torch.float32), reason="this build of torch packs nothing")
needs_bf16 = pytest.mark.skipif(not can_pack(torch.bfloat16), reason="no bfloat16 in this processor's oneDNN")
needs_compiler = pytest.mark.skipif(
    compiler_missing(CPU) is not None, reason="nothing compiles on this machine"
)


def shaken(network: nn.Module, seed: int = 0) -> Any:
    """A network with random weights everywhere: a new one answers zero, whatever happens inside."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise / max(1.0, parameter[0].numel() if parameter.dim() > 1 else 10) ** 0.5
    return network.eval().requires_grad_(False)


def networks() -> dict[str, Network]:
    """One of each kind that is trained here, small."""
    return {
        "residual": shaken(ResidualUNet(width=16, deep=32, middle=2, classes=10)),
        "classic": shaken(ClassicUNet(hidden=4, classes=10)),
    }


def asked(rows: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, times and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((rows, 1, 28, 28), generator=generator)
    return x, torch.rand(rows, generator=generator), torch.arange(rows) % 11 - 1


def answer(network: Callable[..., Tensor], *args: Any, **named: Any) -> Tensor:
    with torch.inference_mode():
        return network(*args, **named)


# -------------------------------------------------------------------------------------- layers made ready


@needs_packing
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 5, 3, padding=1),
        nn.Conv2d(6, 5, 3, stride=2, padding=(0, 2), dilation=2, bias=False),
        nn.Conv2d(6, 6, 1, groups=3),
    ],
)
def test_a_packed_convolution_is_the_convolution(layer: nn.Conv2d) -> None:
    packed = PackedConv2d(layer.requires_grad_(False), dtype=torch.float32, owned=False)
    for rows, side in ((2, 16), (1, 9), (7, 16)):  # it is packed for the first, right for all
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(rows, 6, side, side).contiguous(memory_format=layout)
            torch.testing.assert_close(answer(packed, x), answer(layer, x), rtol=0, atol=1e-5)


@needs_packing
def test_weights_that_were_freed_are_packed_again_for_other_rows() -> None:
    layer = nn.Conv2d(37, 20, 3, padding=1).requires_grad_(False)
    true, packed = deepcopy(layer), PackedConv2d(layer, dtype=torch.float32, owned=True)
    for rows in (1, 4, 1, 64):
        x = torch.randn(rows, 37, 8, 8)
        torch.testing.assert_close(answer(packed, x), answer(true, x), rtol=0, atol=1e-5)
    packed = PackedConv2d(true, dtype=torch.float32, owned=True)
    made = []
    for rows in (2, 2, 3):
        answer(packed, torch.randn(rows, 37, 8, 8))
        made.append(packed.ready._made)
    assert made[0] is made[1]
    assert made[1] is not made[2]


@needs_packing
def test_a_packed_linear_layer_is_the_linear_layer() -> None:
    layer = nn.Linear(12, 7).requires_grad_(False)
    packed = PackedLinear(layer, dtype=torch.float32)
    for x in (torch.randn(12), torch.randn(3, 12), torch.randn(2, 5, 12), torch.randn(2, 12, 5).mT):
        torch.testing.assert_close(answer(packed, x), answer(layer, x), rtol=0, atol=1e-5)


def test_tokens_are_normalised_where_they_lie() -> None:
    layer = shaken(nn.GroupNorm(4, 16))
    tokens = torch.randn(2, 20, 16)
    out = answer(TokenGroupNorm(layer), tokens.mT)
    torch.testing.assert_close(out, answer(layer, tokens.mT.contiguous()), rtol=0, atol=1e-5)
    assert out.mT.is_contiguous()
    for other in (torch.randn(2, 16, 20), torch.randn(2, 16, 5, 4)):
        assert torch.equal(answer(TokenGroupNorm(layer), other), answer(layer, other))


def test_padded_texts_keep_the_accurate_normalisation() -> None:
    """Nearly constant tokens: E x^2 - (E x)^2 would lose their variance."""
    unet = tiny.if_unet(16, upscales=False).eval().requires_grad_(False)
    x, text = torch.randn(2, 3, 16, 16), 5 + 1e-3 * torch.randn(2, 77, tiny.WIDTH)
    true = answer(deepcopy(unet).double(), x.double(), 500.0, text.double(), return_dict=False)[0]
    ours = answer(Runner(unet, Placement(), owned=True), x, torch.full((2,), 500.0), text)
    assert float((ours[0] - true).abs().max()) < 1e-3


# ------------------------------------------------------------------------------------------------- runners


@pytest.mark.parametrize("kind", ["residual", "classic"])
@pytest.mark.parametrize("owned", [False, True])
def test_a_runner_answers_what_the_network_answers(kind: str, owned: bool) -> None:
    network = networks()[kind]
    expected = {rows: answer(network, *asked(rows)) for rows in (3, 1)}
    runner = Runner(network, Placement(), owned=owned)
    for rows, true in expected.items():
        assert float(true.std()) > 0.01
        torch.testing.assert_close(answer(runner, *asked(rows)), true, rtol=1e-4, atol=1e-4)


@needs_bf16
@pytest.mark.parametrize("kind", ["residual", "classic"])
def test_bfloat16_is_what_autocast_computes(kind: str) -> None:
    network = networks()[kind]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = answer(network, *asked(4)).float()
    exact = answer(network, *asked(4))
    ours = answer(Runner(network, Placement(dtype=torch.bfloat16)), *asked(4)).float()
    assert float((ours - exact).std()) < 0.02 * float(exact.square().mean().sqrt())
    assert float((ours - exact).std()) < 2 * float((cast - exact).std())


@needs_bf16
def test_bfloat16_rounds_no_time() -> None:
    x, _, label = asked(1)
    runner = Runner(networks()["residual"], Placement(dtype=torch.bfloat16))
    # which eight bits of mantissa could not tell apart
    assert not torch.equal(*(answer(runner, x, torch.tensor([t]), label) for t in (0.7, 0.7005)))


def test_a_network_that_is_not_owned_stays_what_it_is_and_is_followed() -> None:
    network = networks()["residual"]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    runner = Runner(network, Placement())
    first = answer(runner, *asked(2))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    with torch.no_grad():  # as a training does that shows what it has come to
        network.load_state_dict({name: 0.9 * tensor for name, tensor in before.items()})
    changed = answer(runner, *asked(2))
    assert float((changed - first).abs().max()) > 1e-2
    torch.testing.assert_close(changed, answer(network, *asked(2)), rtol=1e-4, atol=1e-4)


@needs_packing
def test_a_network_that_is_owned_frees_its_weights() -> None:
    network = networks()["residual"]
    runner = Runner(network, Placement(), owned=True)
    answer(runner, *asked(1))
    packed = [layer for layer in runner.module().modules() if isinstance(layer, PackedConv2d | PackedLinear)]
    assert len(packed) > 5
    assert all(layer.weight.numel() == 0 and layer.ready._sources == () for layer in packed)


def test_without_packing_weights_are_cast_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "can_pack", lambda dtype: False)
    network = networks()["residual"]
    exact = answer(network, *asked(3))
    plain = Runner(network, Placement())
    assert plain.module() is network
    ours = answer(Runner(network, Placement(dtype=torch.bfloat16)), *asked(3)).float()
    assert 0 < float((ours - exact).std()) < 0.02 * float(exact.std())


# ----------------------------------------------------------------------------------------- buckets, compile


def test_buckets_hold_their_rows_and_at_most_a_third_is_padding() -> None:
    for rows in range(1, 300):
        size = bucket(rows)
        assert rows <= size <= rows * 3 / 2
        assert size in BUCKETS or size > BUCKETS[-1]
        assert bucket(size) == size


def test_padding_repeats_the_last_row() -> None:
    x = torch.randn(3, 2)
    more = padded(x, 2)
    assert torch.equal(more[:3], x)
    assert torch.equal(more[3:], x[2:].expand(2, 2))
    assert padded(x, 0) is x


def test_tensors_are_found_in_tuples_mappings_and_dataclasses() -> None:
    @dataclass(frozen=True)
    class Pair:
        x: Tensor
        name: str

    one = torch.ones(1)
    value = (one, {"a": one, "b": None}, Pair(one, "n"), "text")
    doubled = on_tensors(value, lambda x: 2 * x)
    assert doubled == (2 * one, {"a": 2 * one, "b": None}, Pair(2 * one, "n"), "text")


class Compiled(nn.Module):
    """What stands for a compiled network: it takes nothing but whole buckets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        assert len(x) in BUCKETS
        assert all(len(arg) == len(x) for arg in args)
        self.seen.append(len(x))
        return self.network(x, *args)


def test_padded_rows_do_not_change_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "compiler_missing", lambda device: None)
    monkeypatch.setattr(speed, "compiler_missing", lambda device: None)
    monkeypatch.setattr(speed, "_compiled", lambda network, device: Compiled(network))
    network = networks()["residual"]
    runner = Runner(network, Placement(compile="on"))
    for rows in (1, 5, 9):
        out = answer(runner, *asked(rows))
        assert len(out) == rows
        torch.testing.assert_close(out, answer(network, *asked(rows)), rtol=1e-5, atol=1e-5)
    assert runner.module().seen == [1, 6, 12]


def toy() -> Model:
    return Model(
        networks()["residual"],
        name="toy",
        schedule=Flow(),
        prediction="flow",
        shape=(1, 28, 28),
        defaults=SamplingDefaults(steps=3),
        classes=10,
    )


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_model_makes_the_same_pictures(dtype: torch.dtype) -> None:
    plain = sf.sample(toy().place(Placement(dtype=dtype, compile="off")), "3", seed=5, count=3, guidance=2).x
    compiled = sf.sample(
        toy().place(Placement(dtype=dtype, compile="on")), "3", seed=5, count=3, guidance=2
    ).x
    tolerance = 1e-3 if dtype is torch.float32 else 0.1
    assert float((plain - compiled).abs().max()) < tolerance
    assert float(plain.std()) > 0.05


def test_auto_does_not_compile_on_a_cpu_however_long_the_run() -> None:
    runner = Runner(networks()["residual"], Placement())
    runner.plan_rows(10**9)
    assert not runner.compiled


def test_auto_compiles_for_a_long_run_where_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PAYS", {"cpu": 100})
    monkeypatch.setattr(placement, "compiler_missing", lambda device: None)
    monkeypatch.setattr(speed, "compiler_missing", lambda device: None)
    monkeypatch.setattr(speed, "_compiled", lambda network, device: Compiled(network))
    model = toy()
    sf.sample(model, sf.unconditional(), seed=0, count=50, steps=2)
    assert isinstance(model.runner.module(), Compiled)
    model = toy()
    sf.sample(model, sf.unconditional(), seed=0, count=49, steps=2)
    sf.sample(model, sf.unconditional(), seed=0, count=50, steps=2)  # too late: a model keeps its road
    assert not isinstance(model.runner.module(), Compiled)


# ------------------------------------------------------------------------------------------------ refusals


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="float16 on a CPU"):
        Placement(dtype=torch.float16)
    with pytest.raises(UsageError, match="compile is 'maybe'; there are auto, on, off"):
        Placement(compile="maybe")  # type: ignore[arg-type]
    monkeypatch.setattr(placement, "compiler_missing", lambda device: "there is no C++ compiler")
    with pytest.raises(UsageError, match="there is no C\\+\\+ compiler"):
        Placement(compile="on")
    model = toy()
    with pytest.raises(UsageError, match="leave offload out"):
        model.place(Placement(device="cuda", offload="network"))
    assert (model.device, model.dtype) == (CPU, torch.float32)  # nothing was half done
    x = torch.randn(2, 1, 28, 28)
    model.denoise(x, torch.tensor([0.5, 0.5]), [Label(1), Unconditional()])

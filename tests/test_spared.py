"""What eager PyTorch is spared changes no answer, and the work is really left out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tiny_pipelines as tiny
from sfumato.models.runtime.eager import (
    DIVISORS,
    GELU,
    PROMPT_MODULES,
    Cached,
    NoDivision,
    same,
    without_division,
)
from sfumato.models.runtime.packing import adapted, can_pack

CPU = torch.device("cpu")
needs_packing = pytest.mark.skipif(not can_pack(torch.float32), reason="this build of torch packs nothing")


class Counted(nn.Linear):
    """A linear layer that counts its calls."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gelu_is_gelu_with_its_gradient_where_it_lies(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = (3 * torch.randn(2, 8, 6, 6)).to(dtype).contiguous(memory_format=layout).requires_grad_()
    true = x.detach().double().requires_grad_()
    out, wanted = GELU()(x), F.gelu(true)
    assert out.stride() == x.stride()
    out.sum().backward()
    wanted.sum().backward()
    rounding = {torch.float32: 1e-6, torch.bfloat16: 2**-7}[dtype]
    assert x.grad is not None
    torch.testing.assert_close(out.double(), wanted, rtol=rounding, atol=rounding)
    torch.testing.assert_close(x.grad.double(), true.grad, rtol=2 * rounding, atol=2 * rounding)


def test_gelu_takes_vectors() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(GELU()(x), F.gelu(x))


def test_the_same_question_is_answered_once() -> None:
    layer = Counted(4, 3)
    remembered = Cached(layer)
    x = torch.randn(2, 5, 4)
    first = remembered(x)
    assert torch.equal(first, F.linear(x, layer.weight, layer.bias))
    assert remembered(x.clone()) is first
    assert layer.calls == 1
    x[1, 4, 3] += 1e-3  # the very tensor of before, changed
    assert torch.equal(remembered(x), F.linear(x, layer.weight, layer.bias))
    assert layer.calls == 2
    for other in (x[:1], torch.cat([x, x]), x.flatten(0, 1)):
        assert torch.equal(remembered(other), F.linear(other, layer.weight, layer.bias))


def test_pictures_beside_a_prompt_are_not_remembered() -> None:
    layer = nn.Bilinear(4, 3, 2)
    remembered, text = Cached(layer), torch.randn(2, 4)
    for picture in torch.randn(2, 2, 3):
        assert torch.equal(remembered(text, picture), layer(text, picture))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("shape", [(2, 7, 8), (1, 3), (5,), (2, 3, 4, 5)])
def test_same_is_the_same_in_every_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.randint(1, 100, shape).to(dtype)
    layouts = [x] if x.dim() == 1 else [x, x.mT.contiguous().mT]
    for made in layouts:
        assert same(made, made.clone())
        for at in torch.ones(shape).nonzero():
            other = made.clone()
            other[tuple(at)] += 1
            assert not same(made, other)
    assert not same(x, x.double())
    assert not same(x, x[..., :1].expand(shape).contiguous() + 100)


def test_one_divides_without_a_copy() -> None:
    x = torch.randn(3)
    assert x / NoDivision() is x


@needs_packing
def test_only_a_one_is_spared() -> None:
    module = nn.Module()
    module.output_scale_factor, module.rescale_output_factor = 1.0, 2.0
    without_division(module)
    assert isinstance(module.output_scale_factor, NoDivision)
    assert module.rescale_output_factor == 2.0


@needs_packing
def test_the_parts_of_a_network_that_see_the_prompts_alone_run_once() -> None:
    """The names in eager.py are still those that diffusers gives."""
    unet = tiny.if_unet(16, upscales=False).eval().requires_grad_(False)
    x, text = torch.randn(2, 3, 16, 16), torch.randn(2, 5, unet.config.encoder_hid_dim)
    times = (0.0, 400.0, 900.0)
    with torch.inference_mode():
        wanted = [unet(x, torch.full((2,), t), text).sample for t in times]
        ready = adapted(unet, CPU, torch.float32, owned=True)
        parts = [m for m in ready.modules() if isinstance(m, Cached)]
        names = {n.rsplit(".", 1)[-1] for n, m in ready.named_modules() if isinstance(m, Cached)}
        calls: list[int] = []
        for part in parts:
            part.module.register_forward_hook(lambda *_: calls.append(1))
        for t, true in zip(times, wanted, strict=True):
            torch.testing.assert_close(ready(x, torch.full((2,), t), text).sample, true, rtol=1e-4, atol=1e-4)
        assert names == PROMPT_MODULES
        assert len(calls) == len(parts)
        ready(x, torch.full((2,), 0.0), text + 1)
        assert len(calls) == 2 * len(parts)
    spared = [m for m in ready.modules() if any(isinstance(m.__dict__.get(n), NoDivision) for n in DIVISORS)]
    assert spared

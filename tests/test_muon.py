import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.training import optimizer
from sfumato.training.muon import RMS, Muon, is_hidden, orthogonalised
from sfumato.training.presets import MuonAdam


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 40), columns=st.integers(2, 40), seed=st.integers(0, 100))
def test_the_orthogonalised_matrix_has_the_directions_of_the_polar_factor(rows, columns, seed):
    """Of a matrix with singular values of 1 to 2: the iteration is not meant for vanishing ones."""
    u, _, vt = torch.linalg.svd(draws(rows, columns, seed=seed), full_matrices=False)
    values = torch.linspace(1, 2, len(vt))
    o = orthogonalised((u * values) @ vt)
    torch.testing.assert_close(u.T @ o @ vt.T, torch.diag(torch.diag(u.T @ o @ vt.T)), rtol=0, atol=1e-4)
    assert 0.6 < float(torch.linalg.svdvals(o)[-1]) <= float(torch.linalg.svdvals(o)[0]) < 1.3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3), nn.GroupNorm(2, 32), nn.Conv2d(32, 1, 1)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def gradients(net: nn.Module, seed: int) -> None:
    for i, parameter in enumerate(net.parameters()):
        parameter.grad = draws(*parameter.shape, seed=seed + i)


def moved(net: nn.Module, o: torch.optim.Optimizer, steps: range) -> dict[str, Tensor]:
    for step in steps:
        gradients(net, 100 * step)
        optimizer.set_learning_rate(o, 0.01)
        o.step()
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_only_convolutions_between_hidden_layers_are_muons():
    assert [name for name, parameter in network().named_parameters() if is_hidden(parameter)] == ["1.weight"]


def test_the_rest_moves_as_under_adamw():
    first, second = network(), network()
    settings = MuonAdam(betas=(0.9, 0.99))
    ours = moved(first, optimizer.build(first, settings), range(3))
    adamw = torch.optim.AdamW(second.parameters(), lr=0.0, betas=settings.betas, weight_decay=0.0)
    theirs = moved(second, adamw, range(3))
    for name, value in theirs.items():
        if name != "1.weight":
            torch.testing.assert_close(ours[name], value)


def test_a_hidden_convolution_moves_as_far_as_an_adamw_update():
    net = network()
    before = net[1].weight.clone()
    moved(net, optimizer.build(net, MuonAdam()), range(1))
    step = (net[1].weight - before).detach().square().mean().sqrt()
    assert float(step) == pytest.approx(0.01 * RMS, rel=0.25)


def test_it_goes_down_hill():
    net = network()
    o = optimizer.build(net, MuonAdam())
    x = draws(8, 1, 9, 9)
    losses = []
    for _ in range(30):
        loss = (net(x) - 1).square().mean()
        o.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.set_learning_rate(o, 0.01)
        o.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_a_state_that_was_stored_goes_on_alike():
    net = network()
    o = optimizer.build(net, MuonAdam())
    moved(net, o, range(2))
    stored = {name: tensor.clone() for name, tensor in optimizer.flatten(o, net).items()}
    assert "1.weight/momentum" in stored
    other = copy.deepcopy(net)
    again = optimizer.build(other, MuonAdam())
    optimizer.load(again, other, stored)
    for name, value in moved(net, o, range(2, 4)).items():
        other_moved = moved(other, again, range(2, 4)) if name == "0.weight" else other.state_dict()
        torch.testing.assert_close(other_moved[name], value, rtol=0, atol=0)


def test_parameters_without_a_gradient_stay():
    net = network()
    o = Muon(net.parameters(), momentum=0.9, betas=(0.9, 0.99), eps=1e-8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer.set_learning_rate(o, 1.0)
    o.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)

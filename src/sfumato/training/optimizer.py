"""The optimiser, and its state as named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sfumato.training.muon import Muon
from sfumato.training.presets import Adam, MuonAdam


def build(
    network: nn.Module, settings: Adam | MuonAdam, dtype: torch.dtype = torch.float32
) -> torch.optim.AdamW:
    """AdamW over all parameters, without decay of biases and gains (fewer than two dimensions); or Muon.

    dtype: of Muon's products; weights and state are float32 in any case.
    """
    parameters = list(network.parameters())
    if isinstance(settings, MuonAdam):
        return Muon(parameters, **vars(settings), dtype=dtype)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def flatten(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the state, by `<name of the parameter>/<name in its state>`."""
    return {
        f"{name}/{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load(optimizer: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `flatten`; tensors take the device and memory layout of their parameter.

    Raises:
        KeyError: the network has no parameter of that name.
    """
    parameters = dict(network.named_parameters())
    for flat, value in tensors.items():
        name, key = flat.rsplit("/", 1)
        parameter = parameters[name]
        like_weights = value.shape == parameter.shape and value.ndim > 0
        shaped = torch.empty_like(parameter).copy_(value) if like_weights else value
        optimizer.state[parameter][key] = shaped.detach()

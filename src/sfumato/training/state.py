"""The state of a training, to and from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.models.networks.names import build_network
from sfumato.training import optimizer as optimizers
from sfumato.training.batches import derive_seed
from sfumato.training.checkpoint import Checkpoint
from sfumato.training.ema import Ema
from sfumato.training.presets import Preset


class TrainingState:
    """Network, optimiser, averages and the number of steps done.

    A training goes on from the network's own weights, not from their averages.
    """

    def __init__(self, network: Network, preset: Preset, dtype: torch.dtype = torch.float32) -> None:
        self.network = network
        self.optimizer = optimizers.build(network, preset.optimizer, dtype)
        self.ema = Ema(network, preset.ema) if preset.ema is not None else None
        self.step = 0

    def capture(self, facts: Mapping[str, Any]) -> Checkpoint:
        """The state as a checkpoint, with facts about the run."""
        optimizer = optimizers.flatten(self.optimizer, self.network)
        groups = {"network": dict(self.network.state_dict()), "optimizer": optimizer}
        if self.ema is not None:
            groups["ema"] = self.ema.average
            facts = {**facts, "ema_updates": self.ema.updates}
        return Checkpoint(step=self.step, facts=facts, groups=groups)

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """The inverse of `capture`; the error names `path`.

        Raises:
            SfumatoError: the tensors do not fit this network.
        """
        try:
            self.network.load_state_dict(checkpoint.groups["network"])
            optimizers.load(self.optimizer, self.network, checkpoint.groups["optimizer"])
            if self.ema is not None:
                self.ema.load(checkpoint.groups["ema"], updates=int(checkpoint.facts["ema_updates"]))
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise SfumatoError(f"the checkpoint {path} does not fit this network: {reason}") from error
        self.step = checkpoint.step


def new_network(preset: Preset, seed: int, start_from: Model | None = None) -> Network:
    """The network with its first weights, which follow from the seed, or are those of a model: of the same
    network, or of one with fewer blocks, styles or concepts.

    Raises:
        UsageError: the network is unknown or not as conditional as the preset, or the model has another one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        network = build_network(preset.network, dict(preset.network_config))
    if network.conditional != preset.conditional:
        raise UsageError(
            f"{preset.name}: conditional={preset.conditional}, but its network has {network.conditional}"
        )
    if start_from is not None:
        grown = _grown(network.state_dict(), start_from.network.state_dict())
        if start_from.network.kind != network.kind or grown is None:
            raise UsageError(f"{preset.name} cannot start from {start_from.name}: its network is another")
        network.load_state_dict(grown)
    return network


def _grown(new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The weights `old` in a network that may have more parts and more rows; None where they do not fit.

    Such parts are the identity when new (Chen et al. 2016, Net2Net), and what was learned asks for no new
    row (a style, a concept): the network answers as before.
    """
    if not old.keys() <= new.keys():
        return None
    grown = {name: tensor.clone() for name, tensor in new.items()}
    for name, tensor in old.items():
        whole = grown[name]
        if tensor.shape == whole.shape:
            whole.copy_(tensor)
        elif tensor.ndim and tensor.shape[1:] == whole.shape[1:] and len(tensor) < len(whole):
            whole[: len(tensor)] = tensor
        else:
            return None
    return grown


def check_same_run(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another training; `epochs` may differ if the learning rate is constant.

    Raises:
        UsageError: the trainings differ; the message says in what.
        SfumatoError: the checkpoint lacks these facts.
    """
    try:
        before, after = dict(then["preset"]), dict(now["preset"])
        if after["learning_rate"]["decay"] == "none":
            before["epochs"] = after["epochs"]
        different = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        different += [f"the {key}" for key in ("data", "seed") if then[key] != now[key]]
    except (KeyError, TypeError) as error:
        raise SfumatoError(
            f"the checkpoint {path} does not say what it was trained on ({error!r})"
        ) from error
    if different:
        raise UsageError(
            f"{path} belongs to another training: it differs in {', '.join(different)}; "
            "resume with the same preset, data and seed"
        )

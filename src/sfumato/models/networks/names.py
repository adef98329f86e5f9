"""The networks that are trained here, by name."""

from typing import Any

from sfumato.errors import UsageError
from sfumato.models.networks.base import Network
from sfumato.models.networks.residual import ResidualUNet
from sfumato.models.networks.text_to_image import PromptedUNet
from sfumato.models.networks.unet import ClassicUNet
from sfumato.models.networks.upscaling import UpscalingUNet

_OURS = (ClassicUNet, ResidualUNet, PromptedUNet, UpscalingUNet)
NETWORKS: dict[str, type[Network]] = {network.kind: network for network in _OURS}


def build_network(kind: str, config: dict[str, Any]) -> Network:
    """A new network from its name and its configuration.

    Raises:
        UsageError: no such network, or arguments that it does not take.
    """
    if kind not in NETWORKS:
        raise UsageError(f"unknown network {kind!r}; there are {', '.join(NETWORKS)}")
    try:
        return NETWORKS[kind](**config)
    except TypeError as error:
        raise UsageError(f"network {kind!r} cannot be built from {config}: {error}") from error

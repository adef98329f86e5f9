"""What a description or configuration may ask for: no number or list in it decides an allocation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfumato.errors import SfumatoError

MAX_NUMBER, MAX_LAYERS, MAX_ITEMS = 1_000_000, 512, 4096
# These size nothing: transformers writes 1e30 for a tokenizer without a limit, diffusers an infinity.
UNLIMITED = {"model_max_length", "lambda_min_clipped"}
LIMITS = {
    "sample_size": 4096,
    "shape": 4096,
    "in_channels": 4096,
    "num_train_timesteps": 100_000,
    "timesteps": 100_000,
}


def check_sizes(path: Path, config: Any) -> None:
    """Refuse a configuration, that of the file `path`, which asks for absurd sizes: SfumatoError."""
    for key, value in items(config):
        _check_size(path, key, value)


def items(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with every value below it, depth first."""
    yield key, value
    if isinstance(value, dict):
        for name, below in value.items():
            yield from items(below, str(name))
    elif isinstance(value, list):
        for below in value:
            yield from items(below, key)


def _check_size(path: Path, key: str, value: Any) -> None:
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise SfumatoError(f"{path}: {key} has {len(value)} entries, more than {MAX_ITEMS}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    most = (
        MAX_LAYERS if "layers" in key or "blocks" in key or key == "middle" else LIMITS.get(key, MAX_NUMBER)
    )
    if abs(value) > most and key not in UNLIMITED:
        raise SfumatoError(f"{path}: {key} = {value:g} is absurd (at most {most:,}): it is not loaded")

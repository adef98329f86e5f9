"""The settings with which an evaluation samples a model."""

from collections.abc import Mapping
from typing import TypedDict


class SamplingSettings(TypedDict, total=False):
    """Settings of `sample`; what is left out or None is the model's default."""

    steps: int | None
    solver: str | None
    options: Mapping[str, float | str] | None
    spacing: str | None
    guidance: float | None

"""Pretrained models of other houses, through diffusers and transformers (extra `sfumato[pretrained]`)."""

from sfumato.models.pretrained.folders import load_folder
from sfumato.models.pretrained.hub import fetch

__all__ = ["fetch", "load_folder"]

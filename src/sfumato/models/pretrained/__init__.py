"""Pretrained models of other houses, through diffusers and transformers (extra `sfumato[pretrained]`)."""

from sfumato.models.pretrained.folders import load_folder
from sfumato.models.pretrained.hub import fetch, is_repository

__all__ = ["fetch", "is_repository", "load_folder"]

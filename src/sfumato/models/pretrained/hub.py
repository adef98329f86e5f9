"""Models of the Hugging Face hub: what is fetched of them, and what to say when it cannot be."""

import os
from pathlib import Path

from sfumato.errors import ModelUnavailableError, first_line
from sfumato.models.files.registry import HUB
from sfumato.models.pretrained.loading import import_library, open_folder

# Of each component configurations, tokenizers and weights in full precision: no pickles, no second copies, no
# code. Old repositories keep their one network beside the index.
KINDS = ("*.json", "*.safetensors", "*.txt", "*.model")
BESIDE = ("model_index.json", "config.json", "scheduler_config.json", "diffusion_pytorch_model*.safetensors*")
UNWANTED = ["*.fp16.*", "*.non_ema.*", "*.py", "*openvino*", "*flax*"]
FILTERS = {"safety_checker", "watermarker", "feature_extractor"}  # DeepFloyd IF's licence asks for them
LARGE = {"T5EncoderModel"}  # the text encoders that are left out where prompts come encoded


def fetch(name: str, *, offline: bool = False, encoded: bool = False) -> Path:
    """The local folder of a repository, `owner/name[@revision]` or a short name, fetched where it must be.

    offline, or HF_HUB_OFFLINE in the environment: what is in the cache, and no connection. encoded: prompts
    come encoded, so that T5 is not fetched.

    Raises:
        ModelUnavailableError: it is gated, unknown, out of reach, or not in the cache.
        SfumatoError: its index is damaged or not to be trusted.
    """
    repository, _, revision = (HUB[name].repository if name in HUB else name).partition("@")
    given = "" if name in HUB else f"there is no folder {repository} here, and "
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    index = open_folder(_download(repository, revision, ["model_index.json"], given, offline=offline))
    unwanted = set() if index.pipeline.startswith("IF") else FILTERS
    wanted = list(BESIDE)
    for component, cls in index.components.items():
        if component not in unwanted and not (encoded and cls in LARGE):
            wanted += [f"{component}/{kind}" for kind in KINDS]
    return _download(repository, revision, wanted, given, offline=offline)


def _download(repository: str, revision: str, wanted: list[str], given: str, *, offline: bool) -> Path:
    """The folder of a repository with the files that are wanted; `given` begins what is said without it."""
    hub = import_library("huggingface_hub")
    errors = import_library("huggingface_hub.errors")
    try:
        folder = hub.snapshot_download(
            repository,
            revision=revision or None,
            local_files_only=offline,
            allow_patterns=wanted,
            ignore_patterns=UNWANTED,
        )
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{repository}"
        raise ModelUnavailableError(
            f"{repository} is gated: accept its licence at {page}, then log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnavailableError(f"{repository} has no revision {revision!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailableError(
            f"{given}the hub shows no {repository}: check the name; a private one needs `hf auth login`"
        ) from error
    except Exception as error:
        why = "and this run is offline" if offline else f"and cannot be fetched ({first_line(error):.120})"
        raise ModelUnavailableError(f"{given}{repository} is not in the local cache, {why}") from error
    return Path(folder)

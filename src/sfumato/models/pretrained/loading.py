"""Components of a diffusers folder: networks, text encoders, tokenizers, by diffusers and transformers.

Every component is checked first (safety.py), then compared with its own weights while it is still without
memory, and only then read. Whatever the libraries complain about becomes one line.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.errors import ModelUnavailableError, SfumatoError, first_line
from sfumato.models.files.headers import Shapes, read_shapes
from sfumato.models.pretrained.safety import check_files, read_config, weight_files
from sfumato.models.runtime.lazy import Call, LazyNetwork
from sfumato.models.runtime.placement import Placement

INDEX = "model_index.json"

# The classes that are loaded, by the library that they come from; any other name is refused.
CLASSES = {
    **dict.fromkeys(("UNet2DModel", "UNet2DConditionModel", "AutoencoderKL"), "diffusers"),
    **dict.fromkeys(("T5EncoderModel", "CLIPTextModel", "CLIPTextModelWithProjection"), "transformers"),
    **dict.fromkeys(("T5Tokenizer", "T5TokenizerFast", "CLIPTokenizer", "CLIPTokenizerFast"), "transformers"),
    "IFSafetyChecker": "sfumato.models.pretrained.checker",
    "IFWatermarker": "diffusers.pipelines.deepfloyd_if.watermark",
}
# What prepares pictures for CLIP has had several names; it is always the one that needs no torchvision.
EXTRACTORS = {"CLIPImageProcessor", "CLIPImageProcessorPil", "CLIPImageProcessorFast", "CLIPFeatureExtractor"}
TIED = ("shared.weight", "embed_tokens.weight", "position_ids")  # may be missing or left over in a file


@dataclass(frozen=True)
class Folder:
    """A folder that diffusers wrote: model_index.json and a folder for each component."""

    path: Path
    pipeline: str  #                                 the class that it names
    components: Mapping[str, str]  #                 name -> class
    options: Mapping[str, Any]  #                    what else the index says

    def at(self, component: str) -> Path:
        """Where a component is: a folder of its own, or, in old repositories, the folder itself."""
        own = self.path / component
        return own if own.is_dir() else self.path

    def has(self, component: str) -> bool:
        """Whether a component is there."""
        return component in self.components and (self.path / component).is_dir()

    def class_of(self, component: str) -> str:
        """The class of a component; SfumatoError where the index names none."""
        if component not in self.components:
            raise SfumatoError(f"{self.path / INDEX} names no {component}: it is not a {self.pipeline}")
        return self.components[component]

    def config(self, component: str) -> dict[str, Any]:
        """The checked configuration of a component."""
        return read_config(self.at(component) / "config.json")


def open_folder(path: Path) -> Folder:
    """The folder at a path; its index names what it holds.

    Raises:
        ModelUnavailableError: there is no such folder.
        SfumatoError: it is not one of diffusers.
    """
    index = read_config(path / INDEX)
    components, options = {}, {}
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            options[name] = value
            continue
        if len(value) != 2 or not all(isinstance(part, str | None) for part in value):
            raise SfumatoError(f"{path / INDEX}: {name} is {value!r:.60}, not a library and a class")
        if value[1] is not None:
            components[name] = str(value[1])
    return Folder(path, str(index.get("_class_name")), components, options)


def load_network(
    folder: Folder, component: str, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    """A network of the folder, in evaluation mode.

    Raises:
        ModelUnavailableError: the component, or the library that reads it, is missing.
        SfumatoError: it is of an unknown class, damaged, or not what its configuration says.
    """
    check_network(folder, component)
    place, cls = folder.at(component), _class(folder, component)
    import_library(f"{__package__}.blocks")  # by being imported it adds what runs faster than its class
    with one_line(f"{place} cannot be loaded"):
        kind = "torch_dtype" if hasattr(cls, "from_config") else "dtype"  # of diffusers, or transformers
        network, info = cls.from_pretrained(
            str(place), local_files_only=True, use_safetensors=True, output_loading_info=True, **{kind: dtype}
        )
    missing = [name for name in info["missing_keys"] if not name.endswith(TIED)]
    if missing or info["mismatched_keys"]:
        raise SfumatoError(f"{place}: the weights lack {missing or info['mismatched_keys']!r:.80}")
    module: nn.Module = network.eval().requires_grad_(False).to(device)
    return module


def lazy_network(
    folder: Folder, component: str, placement: Placement, *, call: Call | None = None
) -> LazyNetwork:
    """A network of the folder that is loaded when it is first called, and checked now; as `load_network`."""
    weights = check_network(folder, component)
    return LazyNetwork(partial(load_network, folder, component), placement, call=call, weights=weights)


def check_network(folder: Folder, component: str) -> int:
    """Refuse a network that `load_network` could not load, before memory is taken for it.

    Returns how many weights it has.
    """
    place, cls = folder.at(component), _class(folder, component)
    if place.is_dir():
        check_files(place, folder.path)
    config = folder.config(component)
    shapes: Shapes = {}
    for file in weight_files(place):
        shapes |= read_shapes(file)
    with one_line(f"{place} cannot be loaded"), torch.device("meta"):  # where sizes cost nothing
        of_diffusers = hasattr(cls, "from_config")
        network = cls.from_config(config) if of_diffusers else cls(cls.config_class.from_dict(config))
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in expected.items():
        if name in shapes and shapes[name] != shape:
            raise SfumatoError(
                f"{place}: {name} has the shape {shapes[name]} in the weights and {shape} by config.json"
            )
    wanted, held = (sum(map(math.prod, s.values())) for s in (expected, shapes))
    tied = sum(math.prod(shape) for name, shape in expected.items() if name.endswith(TIED))
    if wanted - tied > held:
        raise SfumatoError(f"{place}: config.json asks for {wanted:,} weights, its files hold {held:,}")
    return wanted


def load_tokenizer(folder: Folder, component: str = "tokenizer") -> Any:
    """A tokenizer of the folder: a transformers tokenizer, called with texts."""
    place = folder.at(component)
    if not place.is_dir() or place == folder.path:
        raise ModelUnavailableError(f"there is no {folder.path / component}: fetch the model again")
    check_files(place, folder.path)
    for file in place.glob("*_config.json"):
        read_config(file)
    cls = _class(folder, component)
    with one_line(f"{place} cannot be loaded"):
        return cls.from_pretrained(str(place), local_files_only=True)


def load_feature_extractor(folder: Folder, component: str) -> Any:
    """What prepares PIL pictures for CLIP.

    Raises:
        ModelUnavailableError, SfumatoError: as `load_network`.
    """
    place, name = folder.at(component), folder.class_of(component)
    if name not in EXTRACTORS:
        raise SfumatoError(f"{folder.path / INDEX}: {component} is a {name}, which sfumato does not load")
    read_config(place / "preprocessor_config.json")
    cls = import_library("transformers").CLIPImageProcessorPil
    with one_line(f"{place} cannot be loaded"):
        return cls.from_pretrained(str(place), local_files_only=True)


def _class(folder: Folder, component: str) -> Any:
    """The class of a component, if it is one that is known to be safe."""
    name = folder.class_of(component)
    if name not in CLASSES:
        raise SfumatoError(f"{folder.path / INDEX}: {component} is a {name}, which sfumato does not load")
    return getattr(import_library(CLASSES[name]), name)


def import_library(name: str) -> Any:
    """The library diffusers or transformers; ModelUnavailableError says how to get it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ModelUnavailableError(
            f"{name} is needed for pretrained models: pip install 'sfumato[pretrained]'"
        ) from error


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Any complaint of a library becomes a SfumatoError of one line."""
    try:
        yield
    except SfumatoError:
        raise
    except Exception as error:
        raise SfumatoError(f"{what}: {first_line(error):.200}") from error

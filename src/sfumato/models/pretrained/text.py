"""Networks that are asked with text: what DeepFloyd IF and Stable Diffusion have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.core.expression import Expression
from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.core.guidance import asked
from sfumato.core.prediction import Prediction
from sfumato.core.schedule import BetaTable
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model, SamplingDefaults
from sfumato.models.pretrained.embeddings import Embeddings
from sfumato.models.pretrained.loading import Folder, check_network, load_network
from sfumato.models.pretrained.offload import Berth, by_layers
from sfumato.models.pretrained.unet2d import DiffusersNetwork
from sfumato.models.runtime.runner import Compile, Offload, Runner, check_compile, check_dtype, check_offload


class Deferred:
    """A network that comes into memory when it is first asked, checked already when the model is loaded.

    Prompts are encoded before that, so that text encoder and network never share the memory.
    """

    def __init__(
        self, folder: Folder, component: str, *, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        check_dtype(device, dtype)
        check_network(folder, component)
        self._load = partial(load_network, folder, component)
        self.device, self.dtype = torch.device(device), dtype
        self._compile: Compile = "auto"
        self._offload: Offload = "no"
        self._berth = Berth()
        self._expected = 0
        self._runner: Runner | None = None

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return self._runner is not None

    def module(self) -> nn.Module:
        """The network, on its device, as it is run."""
        return self.runner().module()

    def runner(self) -> Runner:
        """What runs the network, which is brought into memory, and to its device, for it."""
        if self._runner is None:
            waits = self._offload != "no"
            network = self._load(device="cpu" if waits else self.device, dtype=self.dtype)
            self._runner = Runner(
                by_layers(network, self.device) if self._offload == "layers" else network,
                device=self.device,
                dtype=self.dtype,
                compile=self._compile,
                given=True,
                placed=waits,
            )
            self._runner.expect(self._expected)
        if self._offload == "network":
            self._berth.take(self._runner.network, self.device)
        return self._runner

    def berth_with(self, other: Deferred) -> None:
        """Be on the device in turn with another network, where networks are offloaded."""
        self._berth = other._berth

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the network answers."""
        return self.runner()(*args, **named)

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype,
        *,
        compile: Compile = "auto",
        offload: Offload = "no",
    ) -> None:
        """Where and how it is run when it is asked next; what was in memory is loaded again for it."""
        check_dtype(device, dtype)
        check_offload(offload, torch.device(device), compile)
        self._compile, self._offload = check_compile(compile, torch.device(device)), offload
        self.device, self.dtype = torch.device(device), dtype
        self.unload()

    def expect(self, rows: int) -> None:
        """As `Runner.expect`, also while it is not in memory."""
        self._expected = max(self._expected, rows)
        if self._runner is not None:
            self._runner.expect(rows)

    def unload(self) -> None:
        """Free its memory; it comes back when it is asked again."""
        if self._runner is not None:
            self._berth.forget(self._runner.network)
        self._runner = None


class TextNetwork(DiffusersNetwork):
    """A UNet2DConditionModel; `label` is what a stage that upscales has as its noise level."""

    def __init__(self, unet: Deferred, timesteps: int) -> None:
        super().__init__(nn.Identity(), timesteps)
        self.unet = unet

    def forward(
        self,
        x: Tensor,
        t: Tensor | None,
        label: Tensor | None,
        context: Tensor | None = None,
        added: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        assert t is not None
        n = self.timesteps_of(t)
        answer: Tensor = self.unet(
            x,
            n,
            encoder_hidden_states=context,
            class_labels=label,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return answer


class TextModel(Model):
    """A model that is asked with text: Prompt, or Unconditional, which is the empty text."""

    def __init__(
        self,
        *,
        name: str,
        unet: Deferred,
        embeddings: Embeddings,
        schedule: BetaTable,
        prediction: Prediction,
        shape: tuple[int, int, int],
        defaults: SamplingDefaults,
        sha256: str,
    ) -> None:
        super().__init__(
            name=name,
            network=TextNetwork(unet, schedule.timesteps),
            schedule=schedule,
            prediction=prediction,
            shape=shape,
            defaults=defaults,
            sha256=sha256,
        )
        self.unet = unet
        self.embeddings = embeddings

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        compile: Compile = "auto",
        offload: Offload = "no",
    ) -> TextModel:
        """As `Model.to`; other than those of networks trained here the weights are held in dtype."""
        self.unet.to(device, dtype, compile=compile, offload=offload)
        return self

    def expect(self, rows: int) -> None:
        self.unet.expect(rows)

    def prepare(self, e: Expression) -> None:
        """Have the texts of a run encoded before the network is needed."""
        self.embeddings.prepare([self._text(condition) for condition in asked(e)])

    def read_embeddings(self, path: Path) -> None:
        self.embeddings.read(path)

    def write_embeddings(self, path: Path, texts: Sequence[str]) -> Path:
        return self.embeddings.export(path, [*texts, self._text(Unconditional())])

    def unload(self) -> None:
        self.unet.unload()

    def answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Tensor:
        return self._answer(x, t, conditions, None)

    def _answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition], label: Tensor | None) -> Tensor:
        told = self.embeddings.rows([self._text(c) for c in conditions], x.device)
        assert isinstance(self.network, TextNetwork)
        return self.network.forward(x, t, label, told.hidden)

    def _text(self, condition: Condition) -> str:
        match condition:
            case Prompt(text):
                return text
            case Unconditional():
                return ""
            case Label(index):
                raise UsageError(f"{self.name} knows no classes such as {index}: ask it with a text")


def square(folder: Folder, config: dict[str, object]) -> int:
    """The side of the pictures or latents that a UNet makes."""
    size = config.get("sample_size")
    if not isinstance(size, int) or size < 1:
        raise SfumatoError(f"{folder.at('unet')}: sample_size is {size!r}, not the side of a square")
    return size

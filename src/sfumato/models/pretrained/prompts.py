"""Prompts for the networks of others: encoded by a text encoder, given to a UNet2DConditionModel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.core.frame import Condition, Label, LowResolution, Prompt, Unconditional
from sfumato.core.schedule import BetaTable
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model
from sfumato.models.pretrained.embeddings import Embeddings
from sfumato.models.pretrained.loading import Folder
from sfumato.models.pretrained.unet2d import timesteps_of
from sfumato.models.runtime.runner import Runner


class EncodedPrompts:
    """A Prompt as its text encoder has it, or Unconditional, which is the empty text (a `Conditioner`).

    The network is given keyword arguments of diffusers' UNet2DConditionModel.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings

    def prepare(self, conditions: Sequence[Condition]) -> None:
        self.embeddings.prepare([_text(condition) for condition in conditions])

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> dict[str, Any]:
        embedded = self.embeddings.rows([_text(c) for c in conditions], device)
        return {"encoder_hidden_states": embedded.hidden}

    def read(self, path: Path) -> list[str]:
        """Take over encoded texts from a file; returns the texts. UsageError where they do not fit."""
        return self.embeddings.read(path)

    def write(self, path: Path, texts: Sequence[str]) -> Path:
        """Encode texts, and the empty one, into one file for `read` elsewhere, as `Embeddings.export`."""
        return self.embeddings.export(path, [*texts, ""])


class PooledPrompts(EncodedPrompts):
    """Stable Diffusion XL: beside the tokens the pooled text, and the size of the picture before it was cut.

    size: (H, W) of the pictures. blank: whether "no condition" is zeros instead of the empty text.
    """

    def __init__(self, embeddings: Embeddings, *, size: tuple[int, int], blank: bool) -> None:
        super().__init__(embeddings)
        self.size, self.blank = size, blank

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> dict[str, Any]:
        embedded = self.embeddings.rows([_text(c) for c in conditions], device)
        assert embedded.pooled is not None
        hidden, pooled = embedded.hidden, embedded.pooled  #                             (N, L, D), (N, P)
        if self.blank:
            given = torch.tensor([c != Unconditional() for c in conditions], device=device)[:, None]
            hidden, pooled = hidden * given[..., None], pooled * given
        height, width = self.size
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=device)  # original, crop, target
        added = {"text_embeds": pooled, "time_ids": sizes.float().expand(len(conditions), -1)}
        return {"encoder_hidden_states": hidden, "added_cond_kwargs": added}


@dataclass(frozen=True)
class ConditionalUNet:
    """How a UNet2DConditionModel is called with the arguments of a model.

    low_schedule: of its low-resolution picture, if it takes one: that picture comes as more channels, its
    noise level as a class.
    """

    schedule: BetaTable
    low_schedule: BetaTable | None = None

    def __call__(
        self, unet: Runner, x: Tensor, t: Tensor, condition: dict[str, Any], low: LowResolution | None = None
    ) -> Tensor:
        """x (N, C, H, W), t (N,) in [0, 1] -> (N, C or 2 C, H, W)."""
        level = None
        if low is not None and self.low_schedule is not None:
            x = torch.cat([x, low.picture], dim=1)  #                                       (N, C + 3, H, W)
            level = (torch.as_tensor(low.t).double() * self.low_schedule.timesteps - 1).round().long()
        answer: Tensor = unet(
            x, timesteps_of(t, self.schedule.timesteps), class_labels=level, return_dict=False, **condition
        )[0]
        return answer


def encoded_prompts(model: Model) -> EncodedPrompts:
    """The encoded prompts of a model; UsageError where it takes none."""
    if not isinstance(model.conditioner, EncodedPrompts):
        raise UsageError(f"{model.name} takes no encoded prompts: it neither reads nor writes embeddings")
    return model.conditioner


def _text(condition: Condition) -> str:
    match condition:
        case Prompt(text):
            return text
        case Unconditional():
            return ""
        case Label(index):
            raise UsageError(f"the model knows no classes such as {index}: give it a text")


def square(folder: Folder, config: dict[str, object]) -> int:
    """The side of the pictures or latents that a UNet makes."""
    size = config.get("sample_size")
    if not isinstance(size, int) or size < 1:
        raise SfumatoError(f"{folder.at('unet')}: sample_size is {size!r}, not the side of a square")
    return size

"""A model: a network with all that is needed to ask it for a clean picture.

Contract (the engine's `Denoiser`): `denoise` takes x (N, C, H, W) float32, t (N,) in [0, 1] and one condition
per row, and answers x0 of the same shape in float32. Rows never influence one another: the network is in
evaluation mode, so batch normalisation uses its running statistics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.core.expression import Expression
from sfumato.core.frame import Condition, Label, Prompt, Unconditional
from sfumato.core.guidance import Guided, Scale
from sfumato.core.invariant import check_whole
from sfumato.core.prediction import PREDICTIONS, Estimate, Prediction, to_x0
from sfumato.core.schedule import Schedule
from sfumato.core.solvers import Draw
from sfumato.errors import UsageError
from sfumato.models.networks.base import Network
from sfumato.models.runtime.runner import Compile, Offload, Runner, check_offload

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """What a model is sampled with when nobody says otherwise.

    steps     downward steps of the path
    solver    a name of `core.solvers.SOLVERS`
    spacing   a name of `core.path.PATHS`
    guidance  the scale of classifier-free guidance; 1 is off
    clip      whether estimates of x0 are kept in [-limit, limit] ...
    quantile  ... or, where it is given, by dynamic thresholding (guidance.Clipped)
    options   of the solver; another solver does not take them over
    """

    steps: int = 20
    solver: str = "dpm++2m"
    spacing: str = "trailing"
    guidance: float = 1.0
    clip: bool = False
    limit: float = 1.0
    quantile: float | None = None
    options: Mapping[str, float | str] = field(default_factory=dict)

    def dressed(
        self, e: Expression, *, guidance: float | Scale | None = None, clip: bool | None = None
    ) -> Expression:
        """The expression with guidance, where it has none of its own, and clipping; None is the default.

        Raises:
            UsageError: a guidance scale for an expression that has guidance of its own.
        """
        if not any(isinstance(node, Guided) for node in e.walk()):
            e = e.guided(self.guidance if guidance is None else guidance)
        elif guidance is not None:
            raise UsageError("the expression has guidance of its own: leave the guidance scale out")
        clip = self.clip if clip is None else clip
        return e.clipped(self.limit, quantile=self.quantile) if clip else e

    def solver_options(
        self, solver: str | None, options: Mapping[str, float | str] | None
    ) -> dict[str, float | str]:
        """The options of a solver; None is the default one, whose own options are added."""
        own = self.options if solver in {None, self.solver} else {}
        return {**own, **(options or {})}


class Model:
    """A network, the schedule it was trained on and what it predicts.

    class_names: what a prompt may call the classes, in their order; () for a network without classes.
    provenance: JSON-able facts about the training, kept as they are.
    sha256: of the file that the weights were loaded from; None for weights that were never stored.
    release: what its licence asks to be done to every picture (B, C, H, W) that leaves; None: nothing.
    """

    release: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self,
        *,
        name: str,
        network: Network,
        schedule: Schedule,
        prediction: Prediction,
        shape: tuple[int, int, int],
        defaults: SamplingDefaults,
        class_names: Sequence[str] = (),
        provenance: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        if prediction not in PREDICTIONS:
            raise UsageError(f"prediction is {prediction!r}; there are {', '.join(PREDICTIONS)}")
        if len(class_names) != (network.classes or 0):
            raise UsageError(
                f"{len(class_names)} class names for a network of {network.classes or 'no'} classes"
            )
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.schedule = schedule
        self.prediction = prediction
        self.shape = shape
        self.defaults = defaults
        self.class_names = tuple(class_names)
        self.provenance = dict(provenance or {})
        self.sha256 = sha256
        here = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self._runner = Runner(network, device=here, dtype=torch.float32)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._runner.device

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions and products are computed in."""
        return self._runner.dtype

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        compile: Compile = "auto",
        offload: Offload = "no",
    ) -> "Model":
        """Move the weights, in place, and choose what convolutions and products are computed in, and how.

        Weights and answers stay float32. compile: whether torch.compile makes the network faster, after a
        minute or two. offload: where weights wait; of pretrained models only (both in speed.py). float16 is
        refused on a CPU, and so is what has no effect.
        """
        if check_offload(offload, torch.device(device), compile) != "no":
            raise UsageError(f"{self.name} keeps its weights where it computes: leave offload out")
        self._runner = Runner(self.network, device=device, dtype=dtype, compile=compile)
        return self

    def expect(self, rows: int) -> None:
        """A run of so many rows (pictures x steps) is coming: what `compile="auto"` goes by."""
        self._runner.expect(rows)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what is sampled; that of the pictures, but for latent models."""
        return self.shape

    @property
    def of_pixels(self) -> bool:
        """Whether the states are pictures."""
        return True

    @property
    def classes(self) -> int | None:
        """How many classes the network knows, or None."""
        return self.network.classes

    # -- what an adapter of a foreign model changes; a run asks all of it of every model

    def state(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, H, W) of what is sampled for a canvas of this size (H, W)."""
        return (self.shape[0], *size)

    def check(self, e: Expression) -> None:
        """Refuse an expression that this model cannot be asked, with the reason: UsageError."""

    def express(self, e: Expression, size: tuple[int, int], *, in_pixels: bool = False) -> Expression:
        """An expression over pictures of this size (H, W) as one over this model's states, checked.

        in_pixels: views and filters of a model of latents act on its decoded estimates.

        Raises:
            UsageError: it is not whole, or this model cannot be asked it.
        """
        if in_pixels:
            raise UsageError(f"{self.name} works on pixels already: leave in_pixels out")
        self.check(e)
        check_whole(e, self.state(size), native=self.state_shape[1:])
        return e

    def prepare(self, e: Expression) -> None:
        """Have ready what the questions of an expression need, such as encoded texts."""

    def read_embeddings(self, path: Path) -> None:  # noqa: ARG002
        """Take over encoded texts from a file (pretrained.embeddings); UsageError where they do not fit."""
        raise UsageError(f"{self.name} takes no encoded prompts: leave the embeddings out")

    def write_embeddings(self, path: Path, texts: Sequence[str]) -> Path:  # noqa: ARG002
        """Encode texts, and no text, into one file for `read_embeddings` elsewhere.

        Raises:
            UsageError: this model encodes no texts, or the file would not be a .safetensors.
            ModelUnavailableError: it has no text encoder.
            SfumatoError: the file cannot be written.
        """
        raise UsageError(f"{self.name} takes no encoded prompts, so it makes none")

    def unload(self) -> None:
        """Free the memory of the network, where it can come back by itself."""

    def encode(self, picture: Tensor, draw: Draw | None = None) -> Tensor:  # noqa: ARG002
        """The state of pictures (B, C, H, W) in [-1, 1]; encoders that sample do so with `draw`, if given."""
        return picture

    def decode(self, state: Tensor) -> Tensor:
        """The pictures (B, C, H, W) of states."""
        return state

    def denoise(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Estimate:
        """The estimate of x0 from x (N, C, H, W) at t (N,) under N conditions.

        Raises:
            UsageError: shapes that do not fit, or a condition that this model cannot answer.
        """
        if x.shape[1:] != self.state_shape or t.shape != x.shape[:1] or len(conditions) != len(x):
            raise UsageError(
                f"{self.name} takes x (N, {', '.join(map(str, self.state_shape))}), t (N,) and N conditions; "
                f"it was given {tuple(x.shape)}, {tuple(t.shape)} and {len(conditions)}"
            )
        return self._estimate(x, t, lambda x: self.answer(x, t, conditions))

    def _estimate(self, x: Tensor, t: Tensor, answer: Callable[[Tensor], Tensor]) -> Estimate:
        """The estimate of x0 that the network's answer at x means."""
        alpha, sigma = (level[:, None, None, None] for level in self.schedule.alpha_sigma(t))  # (N, 1, 1, 1)
        with torch.inference_mode():
            answered = answer(x)
        prediction, *variance = torch.split(answered.float(), x.shape[1], dim=1)
        x0 = to_x0(prediction, self.prediction, x, alpha, sigma)
        return Estimate(x0=x0, variance=variance[0] if variance else None)

    def answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """What the network predicts, (N, C, H, W) of the kind `self.prediction`; rows as in `denoise`.

        Or (N, 2 C, H, W): beside it a learned variance (prediction.Estimate).
        """
        label = torch.tensor([self._label(c) for c in conditions], dtype=torch.int64, device=x.device)
        answer: Tensor = self._runner(x, t if self.network.timed else None, label)
        return answer

    def _label(self, condition: Condition) -> int:
        """The class index of a condition, -1 for none.

        Raises:
            UsageError: this model cannot answer the condition.
        """
        match condition:
            case Unconditional():
                return -1
            case Label(index):
                if not 0 <= index < len(self.class_names):
                    raise UsageError(f"{self.name} has no class {index}; {self._known()}")
                return index
            case Prompt(text):
                word = text.strip().lower()
                if word in DIGIT_WORDS and str(DIGIT_WORDS.index(word)) in self.class_names:
                    word = str(DIGIT_WORDS.index(word))
                names = [name.lower() for name in self.class_names]
                if word not in names:
                    raise UsageError(f"{self.name} cannot draw {text!r}; {self._known()}")
                return names.index(word)

    def _known(self) -> str:
        if not self.class_names:
            return "it knows no classes: ask it without a condition"
        return f"it knows {', '.join(self.class_names)}"

"""A model: a network with all that is needed to get a clean picture from it.

Contract (the engine's `Denoiser`): `denoise` takes x (N, C, H, W) float32, t (N,) in [0, 1] and one condition
per row, and answers x0 of the same shape in float32. Rows never influence one another: the network is in
evaluation mode, so batch normalisation uses its running statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from sfumato.core.crops import has_crops
from sfumato.core.expression import Expression, conditions_of
from sfumato.core.frame import Condition, LowResolution
from sfumato.core.noise import DrawNoise
from sfumato.core.prediction import PREDICTIONS, Estimate, Prediction, to_x0
from sfumato.core.schedule import AlphaSigma, as_schedule
from sfumato.errors import UsageError
from sfumato.models.codec import Codec, PixelCodec
from sfumato.models.conditioning import Conditioner, LabelConditioner, refuse_conditions
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.low_resolution import LowResolutionInput
from sfumato.models.networks.base import Network
from sfumato.models.runtime.placement import Placement
from sfumato.models.runtime.runner import runner_of


def unchanged(pictures: Tensor) -> Tensor:
    """The pictures as they are: what `Model.postprocess` is by default."""
    return pictures


class Model:
    """A network, the schedule it was trained on, what it predicts, and the parts around it.

    network         an nn.Module, a function, or an object that runs its network itself (LazyNetwork):
                    `network(x, t)`; with a conditioner `network(x, t, condition)`; with `low_resolution` the
                    noised picture, a `LowResolution` of N rows, comes last. It answers (N, C, h, w), of kind
                    `prediction`, or (N, 2 C, h, w): beside it a learned variance (prediction.Estimate)
    schedule        alpha and sigma of every time: a Schedule, or any object with `alpha_sigma(t)`
    prediction      "eps", "v", "x0" or "flow"
    shape           (C, H, W) of its pictures
    classes         how many classes it knows, or their names: the condition is (N,) int64, -1 for none
    conditioner     instead of classes: what turns conditions into what the network takes (conditioning.py)
    codec           between pictures and states; None: it works on pixels
    low_resolution  for a network that makes a picture larger: how it is shown that picture
    defaults        what it is sampled with
    name            what recipes call it
    provenance      JSON-able facts about its training, kept as they are
    sha256          of the file that the weights were loaded from; None for weights that were never stored
    postprocess     what is done to every picture (B, C, H, W) that leaves, such as what a licence wants
    placement       where and how the network is run; None: where its weights are, in float32

    Raises:
        UsageError: parts that are none, or do not fit together.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        *,
        schedule: AlphaSigma,
        prediction: Prediction,
        shape: tuple[int, int, int],
        classes: int | Sequence[str] | None = None,
        conditioner: Conditioner | None = None,
        codec: Codec | None = None,
        low_resolution: LowResolutionInput | None = None,
        defaults: SamplingDefaults | None = None,
        name: str = "model",
        provenance: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        postprocess: Callable[[Tensor], Tensor] | None = None,
        placement: Placement | None = None,
    ) -> None:
        if prediction not in PREDICTIONS:
            raise UsageError(f"prediction is {prediction!r}; there are {', '.join(PREDICTIONS)}")
        if len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
            raise UsageError(f"shape is {shape}; give channels, height and width, such as (1, 28, 28)")
        if codec is not None and codec.shape != tuple(shape):
            raise UsageError(
                f"shape is {shape} and the codec makes pictures of {codec.shape}: give one shape"
            )
        if classes is not None and conditioner is not None:
            raise UsageError("classes and a conditioner were given: the network takes one of them")
        self.network: Any = network
        self.schedule = as_schedule(schedule)
        self.prediction = prediction
        self.conditioner = conditioner if classes is None else LabelConditioner(_names(classes))
        self.class_names: tuple[str, ...] = getattr(self.conditioner, "class_names", ())
        if isinstance(network, Network) and (network.classes or 0) != len(self.class_names):
            raise UsageError(
                f"classes: {len(self.class_names)}, for a network of {network.classes or 'none'}"
            )
        self.codec: Codec = PixelCodec((shape[0], shape[1], shape[2])) if codec is None else codec
        self.low_resolution = low_resolution
        self.defaults = SamplingDefaults() if defaults is None else defaults
        self.name = name
        self.provenance = dict(provenance or {})
        self.sha256 = sha256
        self.postprocess = unchanged if postprocess is None else postprocess
        self.runner = runner_of(network, placement)

    def __repr__(self) -> str:
        weights = "" if self.runner.weights is None else f", {self.runner.weights:,} weights"
        return (
            f"<Model {self.name}: {' x '.join(map(str, self.shape))}, {self.prediction} of "
            f"{type(self.schedule).__name__}{weights}, {self.device} in "
            f"{str(self.dtype).removeprefix('torch.')}>"
        )

    # -- where it is

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.runner.device

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions and products are computed in; states and answers are float32."""
        return self.runner.dtype

    def place(self, placement: Placement) -> Model:
        """Run the network there and so from now on; returns this model.

        Raises:
            UsageError: this network cannot be run there.
        """
        self.runner.place(placement)
        self.codec.place(placement)
        return self

    def plan_rows(self, rows: int) -> None:
        """A run of so many rows (pictures x steps) comes: what `compile="auto"` goes by."""
        self.runner.plan_rows(rows)

    def unload(self) -> None:
        """Free the memory of the network, where it can be loaded again."""
        self.runner.unload()

    # -- a model is a cascade of one (cascade.Stages)

    one_at_a_time = False

    @property
    def stages(self) -> tuple[Model, ...]:
        """The models of all stages: this one."""
        return (self,)

    def up_to(self, height: int) -> Model:
        """This model, if its pictures have that height; else UsageError."""
        if height != self.shape[1]:
            raise UsageError(
                f"{self.name} makes pictures of {self.shape[1]} pixels; {height} take stages that make them "
                "larger: load_cascade(name, stage)"
            )
        return self

    def fitting(self, side: int) -> Model:
        """This model for low-resolution pictures of side x side pixels; UsageError where it takes none."""
        low_resolution = self.upscaling().fitting(side)
        fitted = copy(self)
        fitted.low_resolution = low_resolution
        fitted.codec = self.codec.for_states(low_resolution.state_shape)
        return fitted

    @property
    def any_size(self) -> bool:
        """Whether it makes a picture of any size larger, as a canvas of crops asks for."""
        return self.low_resolution is not None and self.low_resolution.any_size

    def upscaling(self) -> LowResolutionInput:
        """How the network is shown the picture that it makes larger; UsageError where it does not."""
        if self.low_resolution is None:
            raise UsageError(f"{self.name} makes pictures of its own, it does not make them larger")
        return self.low_resolution

    # -- pictures and states

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its pictures."""
        return self.codec.shape

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of what is sampled; that of the pictures, but for latent models."""
        return self.codec.state_shape

    @property
    def of_pixels(self) -> bool:
        """Whether the states are pictures."""
        return self.codec.of_pixels

    def state_shape_for(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, h, w) of what is sampled for a canvas of this size (H, W)."""
        return self.codec.state_shape_for(size)

    def encode(self, picture: Tensor, draw: DrawNoise | None = None) -> Tensor:
        """The state of pictures (B, C, H, W) in [-1, 1]; encoders that sample do so with `draw`, if given."""
        return self.codec.encode(picture, draw)

    def decode(self, state: Tensor) -> Tensor:
        """The pictures (B, C, H, W) of states."""
        return self.codec.decode(state)

    def lower(self, e: Expression, size: tuple[int, int], *, in_pixels: bool = False) -> Expression:
        """An expression over pictures of this size (H, W) as one over this model's states, checked.

        in_pixels: views and filters of a model of latents act on its decoded estimates.

        Raises:
            UsageError: its parts do not sum to the identity, or this model cannot sample it.
        """
        if self.low_resolution is not None and has_crops(e):
            raise UsageError("crops do not go with upscaling: upscale a picture of the network's own size")
        return self.codec.lower(e, size, in_pixels=in_pixels)

    # -- the network

    def prepare(self, e: Expression) -> None:
        """Have ready what the conditions of an expression need, such as encoded texts.

        Raises:
            UsageError: a condition that this model cannot answer.
        """
        conditions = list(conditions_of(e))
        if self.conditioner is None:
            refuse_conditions(conditions)
        else:
            self.conditioner.prepare(conditions)

    def denoise(
        self, x: Tensor, t: Tensor, conditions: Sequence[Condition], low: LowResolution | None = None
    ) -> Estimate:
        """The estimate of x0 from x (N, C, H, W) at t (N,) under N conditions.

        low: the noised low-resolution pictures of N rows and their times (N,), for a model that upscales.

        Raises:
            UsageError: shapes that do not fit, or a condition that this model cannot answer.
        """
        shape = self.state_shape
        if low is not None:  # an upscaler of latents makes as many of them as the picture has pixels
            fitted = self.upscaling().fitting(low.picture.shape[-1])
            shape = (shape[0], *x.shape[2:]) if self.any_size else fitted.state_shape
        if x.shape[1:] != shape or t.shape != x.shape[:1] or len(conditions) != len(x):
            raise UsageError(
                f"{self.name} takes x (N, {', '.join(map(str, shape))}), t (N,) and N conditions; "
                f"it was given {tuple(x.shape)}, {tuple(t.shape)} and {len(conditions)}"
            )
        inputs: list[Any] = []
        if self.conditioner is None:
            refuse_conditions(conditions)
        else:
            inputs.append(self.conditioner(conditions, x.device))
        if self.low_resolution is not None:
            if low is None:
                raise UsageError(f"{self.name} makes pictures larger: give it one, or use it in a cascade")
            inputs.append(low)
        alpha, sigma = (level[:, None, None, None] for level in self.schedule.alpha_sigma(t))  # (N, 1, 1, 1)
        with torch.inference_mode():
            answer = self.runner(x, t, *inputs)
        self._check(answer, x)
        prediction, *variance = torch.split(answer.float(), x.shape[1], dim=1)
        x0 = to_x0(prediction, self.prediction, x, alpha, sigma)
        return Estimate(x0=x0, variance=variance[0] if variance else None)

    def _check(self, answer: object, x: Tensor) -> None:
        """Refuse what is no prediction at x, with or without a variance."""
        n, channels, *size = x.shape
        if not isinstance(answer, Tensor):
            raise UsageError(f"the network of {self.name} answered a {type(answer).__name__}, not a tensor")
        if answer.shape != x.shape and answer.shape != (n, 2 * channels, *size):
            raise UsageError(
                f"the network of {self.name} answered {tuple(answer.shape)} to x of {tuple(x.shape)}: a "
                "prediction has the shape of x"
            )


def _names(classes: int | Sequence[str]) -> Sequence[str]:
    """The names of classes, of which the number or the names are given."""
    if isinstance(classes, str) or (isinstance(classes, int) and (isinstance(classes, bool) or classes < 1)):
        raise UsageError(f"classes is {classes!r}; give how many there are, or their names")
    return [str(i) for i in range(classes)] if isinstance(classes, int) else classes

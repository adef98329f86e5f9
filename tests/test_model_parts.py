"""A model of parts: plain modules and functions as networks, and the parts that a user may bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

import sfumato as sf
from sfumato.core.engine import Engine
from sfumato.core.frame import Condition, Label, LowResolution, Prompt, Unconditional
from sfumato.core.noise import DrawNoise, Noise
from sfumato.core.path import make_path
from sfumato.core.sampler import sampler
from sfumato.core.schedule import BetaTable, Flow
from sfumato.core.solvers import make_solver
from sfumato.errors import UsageError
from sfumato.models.codec import LatentCodec
from sfumato.models.files.registry import model_of
from sfumato.models.files.saved import save_model
from sfumato.models.low_resolution import EnlargedPicture
from sfumato.models.networks.residual import ResidualUNet
from sfumato.models.runtime.placement import Placement
from toys import AsTheyAre, Toy

SHAPE = (1, 8, 8)


class Plain(nn.Module):
    """A network as a stranger writes it: its code depends on the layout of memory and on its layers."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.mix = nn.Linear(64, 64)
        self.time = nn.Linear(1, 8)
        self.label = nn.Embedding(classes + 1, 8)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.drop(self.conv(x)) + self.time(t[:, None])[:, :, None, None]
        if label is not None:
            h = h + self.label(label + 1)[:, :, None, None]
        h = h.view(len(x), 8, 64)  # of a channels-last picture this would be no view
        return self.out(torch.tanh(h @ self.mix.weight).view(len(x), 8, 8, 8))


def plain(classes: int = 0) -> Plain:
    torch.manual_seed(0)
    return Plain(classes)


def state(rows: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.randn((rows, *SHAPE), generator=torch.Generator().manual_seed(1))
    return x, torch.linspace(0.3, 0.8, rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_plain_module_is_run_as_it_is_written(dtype: torch.dtype) -> None:
    net = plain().train()
    model = sf.Model(net, schedule=Flow(), prediction="flow", shape=SHAPE, placement=Placement(dtype=dtype))
    x, t = state()
    ours = model.denoise(x, t, [Unconditional()] * 2).x0
    with torch.inference_mode():
        theirs = x - t[:, None, None, None] * plain().eval()(x, t)
    assert ours.dtype is torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-5 if dtype is torch.float32 else 0.05, rtol=0)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert sf.sample(model, sf.unconditional(), steps=3, seed=7).x.shape == (1, *SHAPE)


def test_a_function_is_a_network() -> None:
    data = torch.full((1, *SHAPE), 0.25)
    model = sf.Model(lambda x, t: x * 0 + data, schedule=BetaTable("linear"), prediction="x0", shape=SHAPE)
    made = sf.sample(model, sf.unconditional(), steps=5, seed=1, count=2).x
    torch.testing.assert_close(made, data.expand(2, -1, -1, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("classes", [3, ("cat", "dog", "seven")])
def test_classes_come_as_labels(classes: int | Sequence[str]) -> None:
    seen: list[list[int]] = []

    def net(x: Tensor, t: Tensor, label: Tensor) -> Tensor:  # noqa: ARG001
        assert label.dtype is torch.int64
        seen.append(label.tolist())
        return x

    model = sf.Model(net, schedule=Flow(), prediction="flow", shape=SHAPE, classes=classes)
    names = ("0", "1", "2") if classes == 3 else ("cat", "dog", "seven")
    assert model.class_names == names
    conditions = [
        Unconditional(),
        Label(2),
        Prompt(f" {names[1].upper()}"),
        Prompt("zero" if classes == 3 else "Cat"),
    ]
    model.denoise(*state(4), conditions)
    assert seen == [[-1, 2, 1, 0]]
    for refused in (Label(3), Prompt("a rocket")):
        with pytest.raises(UsageError, match="it knows"):
            model.denoise(*state(1), [refused])
        seen.clear()
        with pytest.raises(UsageError, match="it knows"):
            sf.sample(model, sf.label(3), seed=0)
        assert not seen  # before the first step


def test_labels_reach_a_plain_module() -> None:
    model = sf.Model(plain(3), schedule=Flow(), prediction="flow", shape=SHAPE, classes=3)
    x, t = state()
    with torch.inference_mode():
        theirs = x - t[:, None, None, None] * plain(3).eval()(x, t, torch.tensor([2, -1]))
    torch.testing.assert_close(model.denoise(x, t, [Label(2), Unconditional()]).x0, theirs, atol=1e-5, rtol=0)


class Lengths:
    """A conditioner of a user: the length of a text."""

    def __init__(self) -> None:
        self.prepared: list[Condition] = []

    def prepare(self, conditions: Sequence[Condition]) -> None:
        self.prepared += conditions

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> dict[str, Tensor]:
        return {"length": torch.tensor([len(getattr(c, "text", "")) for c in conditions], device=device)}


def test_a_conditioner_of_ones_own() -> None:
    conditioner = Lengths()
    model = sf.Model(
        lambda x, t, given: x * 0 + given["length"][:, None, None, None] / 10,
        schedule=Flow(),
        prediction="x0",
        shape=SHAPE,
        conditioner=conditioner,
    )
    made = sf.sample(model, sf.prompt("cat").guided(2, negative="a dog"), seed=0, steps=2).x
    torch.testing.assert_close(made, torch.full_like(made, 0.5 + 2 * (0.3 - 0.5)), atol=1e-5, rtol=0)
    assert set(conditioner.prepared) == {Prompt("cat"), Prompt("a dog")}


class Shuffled(LatentCodec):
    """Latents whose cells hold four pixels each: exact, so that the same run can be made on pixels."""

    def encode(self, picture: Tensor, draw: DrawNoise | None = None) -> Tensor:  # noqa: ARG002
        return pixel_unshuffle(picture, 2)

    def decode(self, state: Tensor) -> Tensor:
        return pixel_shuffle(state, 2)


def test_a_codec_of_ones_own() -> None:
    toy = Toy(4)
    model = sf.Model(
        lambda x, t, conditions: toy.denoise(x, t, conditions).x0,
        schedule=BetaTable("linear"),
        prediction="x0",
        shape=(1, 16, 16),
        conditioner=AsTheyAre(),
        codec=Shuffled((1, 16, 16), (4, 8, 8)),
    )
    assert (model.shape, model.state_shape, model.of_pixels) == ((1, 16, 16), (4, 8, 8), False)
    ours = sf.sample(model, "a", seed=3, steps=4, solver="ddim").x
    drawn, schedule = Noise([3], (4, 8, 8)), BetaTable("linear")
    path = make_path(schedule, 4)
    level = schedule.level(path[0])
    x = drawn.draw() * (level.alpha**2 + level.sigma**2) ** 0.5
    run = sampler(
        sf.prompt("a"), x=x, path=path, schedule=schedule, solver=make_solver("ddim"), draw=drawn.draw
    )
    (latent,) = Engine(Toy(4)).run(run)
    torch.testing.assert_close(ours, pixel_shuffle(latent, 2).clamp(-1, 1), atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="in_pixels"):
        sf.sample(model, sf.anagram("a", "b", view="flip"), seed=0, steps=1)
    assert (
        sf.sample(model, sf.anagram("a", "b", view="flip"), seed=0, steps=2, in_pixels=True).x.shape[-1] == 16
    )


def test_a_network_that_makes_a_picture_larger() -> None:
    """It answers its low-resolution picture, which is shown without noise: that is what comes out."""
    model = sf.Model(
        lambda x, t, low: low.picture,
        schedule=Flow(),
        prediction="x0",
        shape=SHAPE,
        low_resolution=EnlargedPicture(schedule=Flow(), t=1e-6, state_shape=SHAPE),
    )
    small = torch.full((1, 1, 4, 4), 0.5)
    small[..., 2:] = -0.5
    made = sf.sample(model, sf.upscale(small, sf.unconditional()), seed=0, steps=2).x
    wanted = nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=True)
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=0)
    x, t = state(1)
    with pytest.raises(UsageError, match="give it one"):
        model.denoise(x, t, [Unconditional()])
    own = sf.Model(lambda x, t: x, schedule=Flow(), prediction="x0", shape=SHAPE)
    for refused in (own.upscaling, lambda: own.fitting(4)):
        with pytest.raises(UsageError, match="does not make them larger"):
            refused()
    with pytest.raises(UsageError, match="does not make them larger"):
        own.denoise(x, t, [Unconditional()], LowResolution(picture=x, t=t))
    cascade = sf.Cascade(sf.Model(lambda x, t: x, schedule=Flow(), prediction="x0", shape=(1, 4, 4)), model)
    assert [stage.shape[1] for stage in cascade.stages] == [4, 8]
    assert cascade.up_to(4).stages == cascade.stages[:1]
    with pytest.raises(UsageError, match="does not make them larger"):
        cascade.fitting(2)


def test_a_model_is_a_cascade_of_one() -> None:
    model = sf.Model(plain(), schedule=Flow(), prediction="flow", shape=SHAPE)
    assert model.stages == (model,)
    assert model.up_to(8) is model
    assert not model.one_at_a_time
    with pytest.raises(UsageError, match="16 take stages"):
        model.up_to(16)
    assert model_of(model) is model
    x = torch.rand(1, *SHAPE)
    assert model.postprocess(x) is x


def test_a_name_and_a_folder_are_models(tmp_path: Any) -> None:
    network = ResidualUNet(width=16, deep=32, middle=1, side=8)
    save_model(
        sf.Model(network, schedule=Flow(), prediction="v", shape=SHAPE, name="small"), tmp_path / "one"
    )
    for named in (tmp_path / "one", str(tmp_path / "one")):
        (model,) = model_of(named).stages
        assert (model.prediction, model.shape) == ("v", SHAPE)
    assert model_of("digits").stages[0].class_names == tuple("0123456789")
    with pytest.raises(UsageError, match="3"):
        model_of(3)  # type: ignore[arg-type]


def test_a_model_says_what_it_is_in_one_line() -> None:
    net = plain()
    said = repr(sf.Model(net, schedule=BetaTable(), prediction="eps", shape=SHAPE, name="mine"))
    count = sum(parameter.numel() for parameter in net.parameters())
    for part in ("mine", "1 x 8 x 8", "eps", "BetaTable", f"{count:,} weights", "cpu", "float32"):
        assert part in said
    assert "\n" not in said
    assert "weights" not in repr(sf.Model(lambda x, t: x, schedule=Flow(), prediction="v", shape=SHAPE))


class Own(nn.Module):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:  # noqa: ARG002
        return x[:, :, :4]


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "prediction": ({"prediction": "noise"}, ["'noise'", "eps", "flow"]),
    "two numbers": ({"shape": (28, 28)}, ["(28, 28)"]),
    "no channels": ({"shape": (0, 8, 8)}, ["(0, 8, 8)"]),
    "fractions": ({"shape": (1, 8.0, 8)}, ["8.0"]),
    "no network": ({"network": 3}, ["3"]),
    "a class": ({"network": Own}, ["Own"]),
    "no classes": ({"classes": 0}, ["0"]),
    "classes as a text": ({"classes": "cats"}, ["'cats'"]),
    "classes twice": ({"classes": ("cat", "Cat")}, ["cat"]),
    "classes and a conditioner": ({"classes": 2, "conditioner": AsTheyAre()}, ["conditioner"]),
    "other classes": ({"network": ResidualUNet(width=16, deep=32, classes=4), "classes": 3}, ["3", "4"]),
    "another shape": ({"codec": Shuffled((1, 16, 16), (4, 8, 8))}, ["(1, 8, 8)", "(1, 16, 16)"]),
    "a compiled function": ({"network": lambda x, t: x, "placement": Placement(compile="on")}, ["compile"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_that_do_not_fit_are_refused_in_one_line(name: str) -> None:
    arguments, words = REFUSED[name]
    parts = {"network": Own(), "schedule": Flow(), "prediction": "flow", "shape": SHAPE} | arguments
    with pytest.raises(UsageError) as caught:
        sf.Model(parts.pop("network"), **parts)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Own(), ["(1, 1, 4, 8)", "(1, 1, 8, 8)"]),
        (lambda x, t: (x,), ["tuple"]),
        (lambda x, t: None, ["None"]),
    ],
)
def test_an_answer_of_a_wrong_shape_is_refused_at_the_first_call(
    net: Callable[..., Any], words: list[str]
) -> None:
    model = sf.Model(net, schedule=Flow(), prediction="flow", shape=SHAPE)
    with pytest.raises(UsageError) as caught:
        sf.sample(model, sf.unconditional(), seed=0, steps=2)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("condition", [Label(3), Prompt("seven")])
def test_a_network_without_a_conditioner_takes_no_condition(condition: Condition) -> None:
    model = sf.Model(lambda x, t: x, schedule=Flow(), prediction="flow", shape=SHAPE)
    with pytest.raises(UsageError, match="knows no classes"):
        model.denoise(*state(1), [condition])

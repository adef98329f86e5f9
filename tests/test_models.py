import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.core.frame import Label, Prompt, Unconditional
from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Schedule
from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.models.conditioning import DIGIT_WORDS
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.saved import load_model, save_model
from sfumato.models.files.store import read_folder
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.models.networks.names import NETWORKS, build_network
from sfumato.models.networks.residual import ResidualUNet
from sfumato.models.networks.unet import ClassicUNet, DownConv, FCBlock, Flatten, UpConv, one_hot
from sfumato.models.runtime.eager import GELU
from spoiled import edit

NONE = torch.tensor([-1])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(network: Network, seed: int = 0) -> Network:
    """A network none of whose weights or statistics is zero, so that nothing can hide behind one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:
            nn.init.normal_(parameter, std=0.2, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            module.running_mean.normal_(std=0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def model(network: Network | None = None, schedule: Schedule | None = None, prediction="flow") -> Model:
    network = network or stirred(ResidualUNet(width=16, deep=32, middle=2, classes=10))
    return Model(
        network,
        name="toy",
        schedule=schedule or Flow(),
        prediction=prediction,
        shape=(1, 28, 28),
        defaults=SamplingDefaults(steps=7),
        classes=network.classes,
        provenance={"seed": 0},
    )


# ----------------------------------------------------------------------------------------- the classic UNet


def conv(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def parameters(d: int, timed: bool, classes: int | None) -> int:
    """Counted by hand from the exercise's drawing: convolutions have a bias, norms a gain and a bias."""

    def normed(inputs: int, outputs: int, kernel: int) -> int:
        return conv(inputs, outputs, kernel) + 2 * outputs

    def pair(inputs: int, outputs: int) -> int:
        return normed(inputs, outputs, 3) + normed(outputs, outputs, 3)

    def fc(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs + outputs**2 + outputs

    body = (
        pair(1, d)
        + (normed(d, d, 3) + pair(d, d))
        + (normed(d, 2 * d, 3) + pair(2 * d, 2 * d))
        + normed(2 * d, 2 * d, 7)
        + (normed(4 * d, d, 4) + pair(d, d))
        + (normed(2 * d, d, 4) + pair(d, d))
        + pair(2 * d, d)
        + conv(d, 1, 3)
    )
    time = fc(1, 2 * d) + fc(1, d) if timed else 0
    label = fc(classes, 2 * d) + fc(classes, d) if classes else 0
    return body + time + label


@pytest.mark.parametrize(
    ("hidden", "timed", "classes"), [(128, False, None), (64, True, None), (64, True, 10), (3, True, 4)]
)
def test_the_classic_unet_has_the_parameters_of_the_exercise(hidden, timed, classes):
    network = ClassicUNet(hidden=hidden, timed=timed, classes=classes)
    assert sum(p.numel() for p in network.parameters()) == parameters(hidden, timed, classes)


def test_the_classic_unet_has_the_layers_of_the_exercise():
    network = ClassicUNet(hidden=4, classes=10)
    halving, doubling = network.down1[0], network.up1[0]
    assert isinstance(halving, DownConv)
    assert (halving[0].kernel_size, halving[0].stride, halving[0].padding) == ((3, 3), (2, 2), (1, 1))
    assert isinstance(doubling, UpConv)
    assert (doubling[0].kernel_size, doubling[0].stride, doubling[0].padding) == ((4, 4), (2, 2), (1, 1))
    wide = network.unflatten[0]
    assert (wide.kernel_size, wide.stride, wide.padding) == ((7, 7), (7, 7), (0, 0))
    for block in (network.stem[0], halving, doubling, network.unflatten):
        assert [type(layer) for layer in block][1:] == [nn.BatchNorm2d, GELU]
    assert [type(layer) for layer in FCBlock(1, 4)] == [nn.Linear, GELU, nn.Linear]
    x = noise(2, 3, 7, 7)
    torch.testing.assert_close(Flatten()(x), nn.functional.gelu(x.mean((2, 3), keepdim=True)))


def test_time_and_class_enter_at_the_two_places_and_nowhere_else():
    """The network is run by hand from its own parts, with the scale and shift of the text."""
    n = stirred(ClassicUNet(hidden=4, classes=10))
    x, t, label = noise(3, 1, 28, 28), torch.tensor([0.1, 0.5, 1.0]), torch.tensor([3, -1, 9])
    hot = one_hot(label, 10)

    def column(v: Tensor) -> Tensor:
        return v[:, :, None, None]

    full = n.stem(x)
    half = n.down1(full)
    quarter = n.down2(half)
    h = n.unflatten(n.flatten(quarter))
    assert (full.shape[1:], half.shape[1:], quarter.shape[1:]) == ((4, 28, 28), (4, 14, 14), (8, 7, 7))
    h = n.up1(torch.cat([column(n.class1(hot)) * h + column(n.time1(t[:, None])), quarter], 1))
    h = n.up2(torch.cat([column(n.class2(hot)) * h + column(n.time2(t[:, None])), half], 1))
    torch.testing.assert_close(n(x, t, label), n.out(n.head(torch.cat([h, full], 1))))


def test_without_the_two_places_time_and_class_have_no_effect():
    n = stirred(ClassicUNet(hidden=4, classes=10))
    for block in (n.time1, n.time2, n.class1, n.class2):
        nn.init.zeros_(block[2].weight)
        nn.init.ones_(block[2].bias)
    x = noise(1, 1, 28, 28)
    one = n(x, torch.tensor([0.1]), torch.tensor([1]))
    torch.testing.assert_close(one, n(x, torch.tensor([0.9]), torch.tensor([7])), rtol=0, atol=0)


def test_each_place_by_itself_has_an_effect():
    x, t = noise(1, 1, 28, 28), torch.tensor([0.3])
    for changed in ("time1", "time2", "class1", "class2"):
        n = stirred(ClassicUNet(hidden=4, classes=10))
        before = n(x, t, torch.tensor([1]))
        nn.init.normal_(getattr(n, changed)[2].bias, std=1, generator=torch.Generator().manual_seed(5))
        assert not torch.allclose(before, n(x, t, torch.tensor([1]))), changed


def test_no_class_is_the_zero_vector():
    hot = one_hot(torch.tensor([-1, 0, 9]), 10)
    assert hot[0].tolist() == [0.0] * 10
    assert hot[1].tolist() == [1.0] + [0.0] * 9
    assert hot[2].tolist() == [0.0] * 9 + [1.0]


def test_the_untimed_network_looks_at_the_picture_alone():
    n = stirred(ClassicUNet(hidden=4, timed=False))
    x = noise(2, 1, 28, 28)
    label = torch.tensor([-1, -1])
    torch.testing.assert_close(n(x, None, label), n(x, torch.tensor([0.2, 0.9]), label), rtol=0, atol=0)


# ---------------------------------------------------------------------------------------- the residual UNet


def test_a_new_residual_unet_answers_zero():
    n = ResidualUNet(width=16, deep=32, classes=10)
    assert n(noise(2, 1, 28, 28), torch.tensor([0.1, 0.9]), torch.tensor([1, -1])).count_nonzero() == 0


def test_the_residual_unet_looks_at_time_class_and_its_absence():
    n = stirred(ResidualUNet(width=16, deep=32, classes=3))
    x, t = noise(1, 1, 28, 28), torch.tensor([0.5])
    answers = [n(x, t, torch.tensor([label])) for label in (-1, 0, 1, 2)] + [n(x, t + 0.1, NONE)]
    for i, a in enumerate(answers):
        for b in answers[:i]:
            assert not torch.allclose(a, b)


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32)])
def test_the_residual_unet_keeps_the_shape(channels, side):
    n = ResidualUNet(channels=channels, side=side, width=16, deep=32, middle=1)
    x = noise(2, channels, side, side)
    assert n(x, torch.tensor([0.1, 0.2]), torch.tensor([-1, -1])).shape == x.shape


# ----------------------------------------------------------------------------------------------- both kinds

SMALL: list[tuple[str, dict[str, object]]] = [
    ("classic", {"hidden": 4, "timed": True, "classes": 10}),
    ("classic", {"hidden": 2, "timed": False, "classes": None}),
    ("residual", {"width": 16, "deep": 32, "classes": 10}),
]


@pytest.mark.parametrize(("kind", "config"), SMALL)
def test_a_configuration_builds_the_same_network_again(kind, config):
    first = stirred(build_network(kind, config))
    again = build_network(first.kind, json.loads(json.dumps(first.config())))
    again.load_state_dict(first.state_dict())
    x, t, label = noise(2, 1, 28, 28), torch.tensor([0.2, 0.7]), torch.tensor([-1, -1])
    torch.testing.assert_close(again.eval()(x, t, label), first(x, t, label), rtol=0, atol=0)
    assert first.config().items() >= config.items()


@pytest.mark.parametrize(("kind", "config"), SMALL)
@settings(max_examples=5, deadline=None)
@given(row=st.integers(0, 3), seed=st.integers(0, 1000))
def test_rows_do_not_influence_one_another(kind, config, row, seed):
    n = stirred(build_network(kind, config))
    x, t, label = noise(4, 1, 28, 28, seed=seed), torch.linspace(0.1, 1, 4), torch.tensor([3, -1, 0, 9])
    alone = n(x[row : row + 1], t[row : row + 1], label[row : row + 1])
    torch.testing.assert_close(n(x, t, label)[row : row + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_network("unet", {}), "unknown network 'unet'; there are classic, residual"),
        (lambda: build_network("classic", {"depth": 3}), "network 'classic' cannot be built from"),
        (lambda: ClassicUNet(hidden=0), "hidden is 0; give at least 1 channel"),
        (lambda: ClassicUNet(timed=False, classes=10), "classes=10 with timed=False"),
        (lambda: ClassicUNet(classes=0), "classes=0 with timed=True"),
        (lambda: ResidualUNet(width=20), "width 20 must be a multiple of 16, deep 96 of 32"),
        (lambda: ResidualUNet(side=30), "side is 30; give a multiple of 4"),
        (lambda: ClassicUNet(hidden=2)(noise(1, 1, 32, 32), torch.ones(1), NONE), r"takes \(N, 1, 28, 28\)"),
        (lambda: ClassicUNet(hidden=2)(noise(1, 1, 28, 28), None, NONE), "give it t"),
        (lambda: ResidualUNet(width=16, deep=32)(noise(1, 1, 28, 28), None, NONE), "give it t"),
    ],
)
def test_bad_networks_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


def test_the_table_is_named_by_kind():
    assert {kind: network.kind for kind, network in NETWORKS.items()} == {kind: kind for kind in NETWORKS}


# ------------------------------------------------------------------------------------------------ the model


class Told(Network):
    """Answers what it is told, and remembers how it was asked."""

    kind = "told"

    def __init__(self, answer: Tensor, timed: bool = True, classes: int | None = 10) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)
        self.timed, self.classes = timed, classes
        self.asked: list[tuple[Tensor | None, Tensor]] = []

    def config(self):
        return {}

    def forward(self, x, t, label=None):
        self.asked.append((t, label))
        return self.answer.expand_as(x)


@pytest.mark.parametrize("schedule", [Flow(), BetaTable(timesteps=300), FixedSigma(0.5)])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
def test_every_prediction_of_the_truth_is_the_clean_picture(schedule, prediction):
    x0, eps, t = noise(2, 1, 28, 28), noise(2, 1, 28, 28, seed=1), torch.tensor([0.25, 0.5])
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule.alpha_sigma(t))
    truth = {"eps": eps, "v": alpha * eps - sigma * x0, "x0": x0, "flow": eps - x0}[prediction]
    toy = model(Told(truth), schedule, prediction)
    estimate = toy.denoise(alpha * x0 + sigma * eps, t, [Unconditional()] * 2)
    torch.testing.assert_close(estimate.x0, x0, rtol=1e-4, atol=1e-4)
    assert estimate.x0.dtype == torch.float32


def test_conditions_become_labels():
    network = Told(torch.zeros(1))
    words = [Prompt(f" {word.title()} ") for word in DIGIT_WORDS]
    conditions = [Unconditional(), Label(4), Prompt("7"), *words]
    model(network).denoise(noise(13, 1, 28, 28), torch.full((13,), 0.5), conditions)
    assert network.asked[0][1].tolist() == [-1, 4, 7, *range(10)]


@pytest.mark.parametrize(
    ("classes", "condition", "message"),
    [
        (10, Label(10), "no class 10; it knows 0, 1, 2"),
        (10, Label(-1), "no class -1"),
        (10, Prompt("a rocket"), "cannot draw 'a rocket'; it knows 0, 1, 2"),
        (None, Label(3), "no class 3; it knows no classes"),
        (None, Prompt("seven"), "cannot draw 'seven'; it knows no classes"),
    ],
)
def test_a_condition_without_an_answer_is_refused(classes, condition, message):
    toy = model(Told(torch.zeros(1), classes=classes))
    with pytest.raises(UsageError, match=message):
        toy.denoise(noise(1, 1, 28, 28), torch.ones(1), [condition])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"toy takes x \(N, 1, 28, 28\), t \(N,\) and N conditions"):
        model().denoise(noise(2, 1, 28, 28), torch.ones(2), [Unconditional()])


def test_a_model_evaluates_even_if_it_was_training():
    network = ClassicUNet(hidden=2, classes=10).train()
    statistics = network.stem[0][1].running_mean.clone()
    model(network).denoise(noise(2, 1, 28, 28), torch.ones(2), [Label(1)] * 2)
    torch.testing.assert_close(network.stem[0][1].running_mean, statistics, rtol=0, atol=0)


# --------------------------------------------------------------------------------------- saving and loading


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_saved_is_loaded(tmp_path: Path, dtype):
    first = model()
    save_model(first, tmp_path / "toy", dtype=dtype)
    again = load_model(tmp_path / "toy")
    for name, tensor in first.network.state_dict().items():
        rounded = tensor.to(dtype).float() if tensor.is_floating_point() else tensor
        torch.testing.assert_close(again.network.state_dict()[name], rounded, rtol=0, atol=0)
    for what in ("name", "schedule", "prediction", "shape", "defaults", "class_names", "provenance"):
        assert getattr(again, what) == getattr(first, what), what
    stated = json.loads((tmp_path / "toy" / "model.json").read_text())["weights"]["sha256"]
    assert again.sha256 == stated
    assert first.sha256 is None


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path):
    save_model(model(), tmp_path / "toy")
    save_model(model(Told(torch.ones(1))), tmp_path / "toy")
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    assert sorted(p.name for p in (tmp_path / "toy").iterdir()) == ["model.json", "model.safetensors"]
    assert read_folder(tmp_path / "toy")[1]["answer"] == 1


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear Anna")
    with pytest.raises(SfumatoError, match="exists and is no model folder"):
        save_model(model(), tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear Anna"


def test_an_unwritable_place_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SfumatoError, match=r"cannot write the model to .*file/toy"):
        save_model(model(), tmp_path / "file" / "toy")


def cut(path: Path, *, end: bytes) -> None:
    path.write_bytes(path.read_bytes()[:-100] + end)


MISSING = (ModelUnavailableError, 3)
DAMAGED = (SfumatoError, 1)


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda f: (f / "model.json").unlink(), MISSING, r"no model at .*: there is no model\.json"),
        (lambda f: (f / "model.safetensors").unlink(), MISSING, "no weights at"),
        (lambda f: cut(f / "model.safetensors", end=b""), DAMAGED, "it is cut short or changed"),
        (lambda f: cut(f / "model.safetensors", end=bytes(100)), DAMAGED, "has not the sha256"),
        (lambda f: (f / "model.json").write_text("{"), DAMAGED, r"model\.json is not JSON that is read"),
        (lambda f: (f / "model.json").write_text("[]"), DAMAGED, "is not a JSON object"),
        (lambda f: edit(f, weights={}), DAMAGED, "states no hash of its weights"),
        (lambda f: edit(f, format=99), DAMAGED, "has format 99; this version reads 1"),
        (lambda f: edit(f, prediction="noise"), DAMAGED, "does not describe a model: prediction is 'noise'"),
        (lambda f: edit(f, network={"kind": "x", "config": {}}), DAMAGED, "unknown network 'x'"),
        (lambda f: edit(f, network={"kind": "residual", "config": {}}), DAMAGED, "does not describe a model"),
        (lambda f: edit(f, schedule={"kind": "x"}), DAMAGED, "no schedule of kind 'x'"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage, kind, message):
    save_model(model(), tmp_path / "toy")
    damage(tmp_path / "toy")
    with pytest.raises(SfumatoError, match=message) as caught:
        load_model(tmp_path / "toy")
    assert (type(caught.value), caught.value.exit_code) == kind
    assert "\n" not in str(caught.value)


def test_no_folder_is_no_model(tmp_path: Path):
    with pytest.raises(ModelUnavailableError, match=r"no model at .*nothing"):
        load_model(tmp_path / "nothing")

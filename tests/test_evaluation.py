import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.train_digit_classifier import DIGITS, as_they_are, train
from torch import Tensor, nn

from sfumato.core.schedule import Flow
from sfumato.errors import SfumatoError, UsageError
from sfumato.evaluation.classifier import DigitClassifier
from sfumato.evaluation.digits import FOLDER, Yardstick, draw_function, evaluate, load_judge
from sfumato.evaluation.fid import Gaussian, frechet_distance
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.model import Model
from sfumato.models.networks.base import Network
from sfumato.training.data import to_house_range
from tiny import digits

SMALLEST = 500  # the smallest count with a yardstick


def draws(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian(features: int, seed: int = 0) -> Gaussian:
    root = draws(features, features, seed=seed)
    return Gaussian(mean=draws(features, seed=seed + 1), covariance=root @ root.T)


# ------------------------------------------------------------------------------------- the Frechet distance


@settings(max_examples=20, deadline=None)
@given(features=st.integers(1, 40), seed=st.integers(0, 1000))
def test_a_set_is_at_no_distance_from_itself(features, seed):
    a = gaussian(features, seed)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8 * float(a.covariance.trace()))


@settings(max_examples=20, deadline=None)
@given(features=st.integers(1, 40), seed=st.integers(0, 1000))
def test_shifted_gaussians_are_apart_by_the_shift(features, seed):
    a, shift = gaussian(features, seed), draws(features, seed=seed + 7)
    b = Gaussian(mean=a.mean + shift, covariance=a.covariance)
    assert frechet_distance(a, b) == pytest.approx(float(shift @ shift), rel=1e-5)


def test_diagonal_covariances_are_apart_by_their_deviations():
    s, r = draws(20).abs(), draws(20, seed=1).abs()
    mean = torch.zeros(20, dtype=torch.float64)
    a, b = (Gaussian(mean=mean, covariance=torch.diag(v**2)) for v in (s, r))
    assert frechet_distance(a, b) == pytest.approx(float((s - r).square().sum()))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), rank=st.integers(1, 12))
def test_it_is_symmetric_and_turns_with_the_features_also_when_singular(seed, rank):
    """Fewer samples than features: the covariances are singular and share no directions."""
    a, b = Gaussian.of(draws(rank + 1, 12, seed=seed)), Gaussian.of(draws(rank + 1, 12, seed=seed + 1))
    turn = torch.linalg.qr(draws(12, 12, seed=seed + 2)).Q
    distance = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(distance, abs=1e-6)
    turned = (Gaussian(mean=turn @ g.mean, covariance=turn @ g.covariance @ turn.T) for g in (a, b))
    assert frechet_distance(*turned) == pytest.approx(distance, abs=1e-5)


def test_one_number_gives_the_textbook_formula():
    a, b = (
        Gaussian(mean=torch.tensor([m]).double(), covariance=torch.tensor([[v]]).double())
        for m, v in ((1.0, 4.0), (3.0, 9.0))
    )
    assert frechet_distance(a, b) == pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2)


def test_moments_are_those_of_the_text():
    features = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
    moments = Gaussian.of(features)
    torch.testing.assert_close(moments.mean, torch.tensor([2.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(moments.covariance, torch.cov(features.double().T))


def test_bad_features_are_refused():
    with pytest.raises(UsageError, match=r"\(1, 3\)"):
        Gaussian.of(torch.zeros(1, 3))
    with pytest.raises(SfumatoError, match="finite"):
        Gaussian.of(torch.full((3, 3), math.nan))
    with pytest.raises(UsageError, match=r"3 .*4"):
        frechet_distance(gaussian(3), gaussian(4))


# ------------------------------------------------------------------------------------- the digit classifier


def test_the_classifier_reads_real_digits():
    judge, real = load_judge(), digits()
    _, read = judge.read(to_house_range(real.pictures))
    assert (read == real.labels).double().mean() >= 0.99


def test_the_classifier_reads_each_picture_by_itself():
    judge, pictures = load_judge(), to_house_range(digits().pictures[:20])
    together, _ = judge.read(pictures)
    alone, _ = judge.read(pictures[7:8])
    torch.testing.assert_close(together[7:8], alone, rtol=1e-4, atol=1e-4)


def test_the_classifier_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


def test_labels_are_as_frequent_as_in_the_training_set():
    judge = load_judge()
    labels = judge.labels(1000)
    assert len(labels) == 1000
    assert float(judge.shares.sum()) == pytest.approx(1)
    counts = torch.bincount(labels, minlength=10) / 1000
    torch.testing.assert_close(counts.double(), judge.shares, rtol=0, atol=1.001e-3)


# ------------------------------------------------------------------------------------------- the evaluation


def real_digits(labels: Tensor, seed: int) -> Tensor:
    """A perfect model, as far as 40 digits of a class can be: real ones of the class that is asked for."""
    real = digits()
    generator = torch.Generator().manual_seed(seed)
    places = [torch.nonzero(real.labels == label).flatten() for label in range(10)]
    rows = [int(places[label][torch.randint(40, (1,), generator=generator)]) for label in labels.tolist()]
    return to_house_range(real.pictures[rows])


def test_real_digits_score_as_real_digits():
    report = evaluate(real_digits, count=SMALLEST)
    assert report.accuracy >= 0.98
    assert report.yardstick == load_judge().yardsticks[SMALLEST]
    assert report.fid < 5 * report.yardstick.fid  # 400 different digits stand for 60,000
    assert report.count == SMALLEST
    assert report.seconds_per_100 > 0


def test_noise_and_wrong_classes_score_badly():
    real = evaluate(real_digits, count=SMALLEST)
    noise = evaluate(lambda labels, seed: draws(len(labels), 1, 28, 28, seed=seed).float(), count=SMALLEST)
    assert noise.fid > 20 * real.fid
    assert noise.accuracy < 0.3
    wrong = evaluate(lambda labels, seed: real_digits((labels + 1) % 10, seed), count=SMALLEST)
    assert wrong.accuracy < 0.05


def test_one_digit_again_and_again_is_far_from_real():
    one = to_house_range(digits().pictures[:1])
    report = evaluate(lambda labels, seed: one.expand(len(labels), -1, -1, -1), count=SMALLEST)
    assert report.fid > 10 * report.yardstick.fid


def test_more_real_digits_are_nearer():
    fids = [y.fid for _, y in sorted(load_judge().yardsticks.items())]
    assert fids == sorted(fids, reverse=True)
    assert all(isinstance(y, Yardstick) and y.accuracy >= 0.993 for y in load_judge().yardsticks.values())


class Ideal(Network):
    """Knows one picture of each class and answers it, whatever it sees."""

    kind = "ideal"
    timed = True

    def __init__(self, pictures: Tensor, classes: int | None = 10) -> None:
        super().__init__()
        self.pictures = nn.Parameter(pictures)
        self.classes = classes

    def config(self):
        return {}

    def forward(self, x, t, label=None):  # noqa: ARG002
        return self.pictures[torch.zeros(len(x), dtype=torch.int64) if label is None else label.clamp(min=0)]


def ideal(classes: int | None, shape: tuple[int, int, int] = (1, 28, 28)) -> Model:
    real = digits()
    firsts = torch.stack([real.pictures[real.labels == k][0] for k in range(10)])
    return Model(
        Ideal(to_house_range(firsts), classes),
        name="ideal",
        schedule=Flow(),
        prediction="x0",
        shape=shape,
        defaults=SamplingDefaults(steps=2, solver="euler"),
        classes=classes,
    )


def test_a_model_draws_the_classes_that_are_asked_for_in_order():
    labels = torch.tensor([3, 3, 1, 0, 0])
    model = ideal(10)
    pictures = draw_function(model, guidance=1)(labels, 0)
    torch.testing.assert_close(pictures, model.network.pictures[labels].detach(), rtol=0, atol=1e-5)


def test_a_model_without_classes_is_judged_by_its_pictures_alone():
    model = ideal(None)
    pictures = draw_function(model)(load_judge().labels(12), 0)
    known = model.network.pictures.detach()
    assert (pictures[:, None] - known[None]).flatten(2).abs().amax(2).amin(
        1
    ).max() < 1e-4  # each is one of them
    report = evaluate(real_digits, count=SMALLEST, conditional=False)
    assert report.accuracy is None
    assert report.fid == evaluate(real_digits, count=SMALLEST).fid


def test_a_model_of_other_classes_is_refused():
    with pytest.raises(UsageError, match="ideal"):
        draw_function(ideal(3))


def test_bad_evaluations_are_refused():
    with pytest.raises(UsageError, match=r"7 .*500, 1000"):
        evaluate(real_digits, count=7)
    with pytest.raises(UsageError, match=r"\(500, 1, 28, 28\).*\(3, 1, 28, 28\)"):
        evaluate(lambda labels, seed: torch.zeros(3, 1, 28, 28), count=SMALLEST)
    with pytest.raises(SfumatoError, match="finite"):
        evaluate(lambda labels, seed: torch.full((len(labels), 1, 28, 28), math.nan), count=SMALLEST)


def test_the_classifier_can_be_trained_again() -> None:
    real = digits()
    torch.manual_seed(0)
    recipe = replace(DIGITS, epochs=10)
    for _, network in train(DigitClassifier(), len(real), as_they_are(real.pictures, real.labels), recipe):
        features, logits = network.read(to_house_range(real.pictures))
    assert features.shape == (len(real), 128)
    assert (logits.argmax(1) == real.labels).double().mean() > 0.7

"""The stage that makes pictures larger: its network, and expressions, masks and canvases through it."""

from typing import Any

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.core.expression import Ask, Guided, Known, reduced
from sfumato.core.frame import LowResolution, Unconditional
from sfumato.core.schedule import Flow
from sfumato.errors import UsageError
from sfumato.models.cascade import Cascade, without_conditions
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.saved import build_model, load_model, save_model
from sfumato.models.low_resolution import EnlargedPicture
from sfumato.models.networks.upscaling import UpscalingUNet
from sfumato.recipe import parse_recipe

SMALL, LARGE = 16, 64


def network(seed: int = 0) -> UpscalingUNet:
    """One whose every layer does something."""
    made = UpscalingUNet(side=LARGE, widths=(8, 8, 16, 16), blocks=(1, 1, 1))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in made.parameters():
            weights.copy_(0.2 * torch.randn(weights.shape, generator=generator))
    return made.eval()


def larger(**defaults: Any) -> sf.Model:
    return build_model(
        network(),
        name="larger",
        schedule=Flow(),
        prediction="x0",
        shape=(3, LARGE, LARGE),
        defaults=SamplingDefaults(steps=2, solver="ddim", clip=True, **defaults),
    )


def small(**defaults: Any) -> sf.Model:
    """A model that draws what its noise says, brighter for a longer prompt."""

    class Texts:
        def prepare(self, conditions: Any) -> None: ...

        def __call__(self, conditions: Any, device: torch.device) -> Tensor:  # noqa: ARG002
            return torch.tensor([len(getattr(c, "text", "")) / 10 for c in conditions])

    def draw(x: Tensor, t: Tensor, brightness: Tensor) -> Tensor:  # noqa: ARG001
        return (0.5 * x.tanh() + brightness[:, None, None, None]).clamp(-1, 1)

    return sf.Model(
        draw,
        schedule=Flow(),
        prediction="x0",
        shape=(3, SMALL, SMALL),
        conditioner=Texts(),
        defaults=SamplingDefaults(steps=4, guidance=2.0, **defaults),
        name="small",
    )


def cascade() -> Cascade:
    return Cascade(small(), larger())


def given(*size: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, 3, *size), generator=generator) * 1.6 - 0.8


# -- the network


def test_a_new_network_answers_the_low_resolution_picture() -> None:
    low = given(LARGE, LARGE)
    answer = UpscalingUNet(side=LARGE)(
        torch.randn(1, 3, LARGE, LARGE), torch.ones(1), LowResolution(picture=low, t=0.1)
    )
    assert torch.equal(answer, low)


def test_the_network_does_to_a_picture_what_it_does_to_its_crop() -> None:
    made, x, low = network(), given(192, 192), given(192, 192, seed=2)
    t = torch.tensor([0.7])
    whole = made(x, t, LowResolution(picture=low, t=0.1))
    box = (slice(None), slice(None), slice(0, 152), slice(40, 192))
    part = made(x[box], t, LowResolution(picture=low[box], t=0.1))
    middle = (slice(None), slice(None), slice(0, 80), slice(72, 152))
    torch.testing.assert_close(part[middle], whole[box][middle], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"side": 12}, {"side": 0}, {"widths": (0, 8, 8, 8)}, {"blocks": (1, 0, 1)}]
)
def test_a_wrong_network_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        UpscalingUNet(**wrong)


def test_the_model_is_saved_with_how_it_is_shown_a_picture(tmp_path: Any) -> None:
    model = larger()
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert isinstance(again.low_resolution, EnlargedPicture)
    assert (again.low_resolution.t, again.low_resolution.any_size) == (model.network.low_t, True)
    small_picture = given(SMALL, SMALL)
    one, other = (sf.sample(m, sf.upscale(small_picture, "a"), seed=3).x for m in (model, again))
    assert torch.equal(one, other)


# -- expressions


def test_a_stage_without_conditions_is_asked_the_same_expression_without_them() -> None:
    e = sf.anagram(sf.prompt("a").guided(3), sf.crops("b"), view="flip")
    asked = without_conditions(e)
    assert all(leaf.condition == Unconditional() for leaf in asked.walk() if isinstance(leaf, Ask))
    assert not any(isinstance(node, Guided) for node in asked.walk())
    assert str(asked.children[1].view) == "flip"  # type: ignore[attr-defined]


def test_the_stage_draws_an_anagram_that_is_one_through_its_view() -> None:
    """Turned readings in a turned order make the turned picture, at the large size, too."""
    model = cascade()
    recipe, _ = sf.make_recipe(model, sf.anagram("a", "bcd", view="flip"), seed=5)
    stage = recipe.stages[0].expression
    assert "seen" in str(stage)
    assert "prompt" not in str(stage)
    made = sf.sample(model, sf.anagram("a", "bcd", view="flip"), seed=5)
    assert made.x.shape == (1, 3, LARGE, LARGE)
    assert torch.equal(sf.run(parse_recipe(made.recipe.plain()), model).x, made.x)


def test_the_small_picture_alone_is_the_first_stage() -> None:
    whole, alone = cascade(), small()
    assert torch.equal(sf.sample(whole, "abc", seed=2, upscale=SMALL).x, sf.sample(alone, "abc", seed=2).x)


def test_a_canvas_of_crops_is_made_larger_as_a_whole() -> None:
    made = sf.sample(cascade(), sf.panorama("abc", size=(SMALL, 24)), seed=4)
    assert made.x.shape == (1, 3, LARGE, 96)
    assert made.recipe.made_size == (LARGE, 96)


# -- pictures


def test_known_pixels_stay_at_the_size_of_the_last_stage() -> None:
    picture, mask = given(LARGE, LARGE), torch.zeros(1, 1, LARGE, LARGE)
    mask[..., :24, :24] = 1
    made = sf.sample(cascade(), sf.inpaint(picture, mask, "abc"), seed=1)
    outside = mask.expand_as(picture) == 0
    assert torch.equal(made.x[outside], picture[outside])
    assert not torch.allclose(made.x[~outside], picture[~outside], atol=0.05)


def test_a_picture_to_start_from_is_reduced_for_the_first_stage() -> None:
    picture, whole = given(LARGE, LARGE), cascade()
    reduction = torch.nn.functional.avg_pool2d(picture, 4)
    how: dict[str, Any] = {"seed": 1, "upscale": SMALL}
    one = sf.sample(whole, sf.translate(picture, "abc", strength=0.5), **how).x
    other = sf.sample(whole, sf.translate(reduction, "abc", strength=0.5), **how).x
    torch.testing.assert_close(one, other)


def test_reduced_takes_whole_factors_alone() -> None:
    picture = given(LARGE, LARGE)
    assert reduced(picture, (SMALL, SMALL)).shape[-1] == SMALL
    torch.testing.assert_close(reduced(picture, (SMALL, SMALL)).mean(), picture.mean())
    for size in ((LARGE, LARGE), (24, 24), (SMALL, 32)):
        assert reduced(picture, size) is picture
    with pytest.raises(UsageError):
        sf.sample(small(), Known(sf.core.hashed.HashedTensor(given(24, 24))), seed=0)


# -- leaving the path


def test_a_path_left_early_ends_in_one_estimate_without_guidance() -> None:
    model = small(until=0.5, guidance_between=(0.6, 1.0))
    seen: list[float] = []

    def see(step: Any) -> bool:
        seen.append(step.t)
        return False

    made = sf.sample(model, "abc", seed=3, on_step=see)
    assert seen == [1.0, 0.75, 0.5]
    assert made.recipe.until == 0.5
    assert made.recipe.expression["between"] == [0.6, 1.0]
    assert torch.equal(sf.run(made.recipe, model).x, made.x)
    whole = sf.sample(model, "abc", seed=3, until=0.0)
    assert whole.recipe.until == 0.0
    assert not torch.equal(whole.x, made.x)

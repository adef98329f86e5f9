"""The techniques on toy models: what they do to pixels, and what they refuse."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf
from sfumato.core.frame import Condition
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import BetaTable, Flow, Schedule
from sfumato.core.views import make_view
from sfumato.errors import UsageError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.model import Model
from sfumato.recipe import parse_recipe
from sfumato.sampling import make_recipe, run
from sfumato.study import blur_denoised, iteratively_denoised, noised, one_step_denoised, psnr
from sfumato.techniques import Edit
from toys import AsTheyAre, Toy


class ToyModel(Model):
    """A Model over a toy network."""

    def __init__(self, denoiser: Any = None, schedule: Schedule | None = None) -> None:
        toy = denoiser or Toy()
        super().__init__(
            lambda x, t, conditions: toy.denoise(x, t, conditions).x0,
            name="toy",
            schedule=schedule or BetaTable("linear"),
            prediction="x0",
            shape=(3, 16, 16),
            conditioner=AsTheyAre(),
            defaults=SamplingDefaults(steps=8),
        )


class Memory:
    """The ideal denoiser of one picture per prompt: it always answers that picture."""

    def __init__(self, **pictures: torch.Tensor) -> None:
        self.pictures = pictures

    def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: list[Condition]) -> Estimate:  # noqa: ARG002
        return Estimate(x0=torch.stack([self.pictures[c.text] for c in conditions]).to(x))  # type: ignore[union-attr]


def picture(seed: int) -> torch.Tensor:
    return torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


MASK = torch.zeros(1, 1, 16, 16)
MASK[..., 4:12, 4:12] = 1


def test_an_anagram_of_two_remembered_pictures_is_their_mean_turned() -> None:
    a, b = picture(1), picture(2)
    model = ToyModel(Memory(a=a, b=b))
    for view in ("flip", "rotate_cw", "negate", "jigsaw", "inner_circle"):
        made = sf.sample(model, sf.anagram("a", "b", view=view), seed=0, guidance=1).x[0]
        back = make_view(view).inverse(b[None])[0]
        torch.testing.assert_close(made, (a + back) / 2, atol=1e-4, rtol=0)


def test_three_readings_through_two_views() -> None:
    a, b, c = picture(1), picture(2), picture(3)
    model = ToyModel(Memory(a=a, b=b, c=c))
    made = sf.sample(model, sf.anagram("a", "b", "c", view=["flip", "mirror"]), seed=0, guidance=1).x[0]
    expected = (a + b.flip(-2) + c.flip(-1)) / 3
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


def test_colour_and_motion_hybrids_split_and_join() -> None:
    a, b = picture(1) / 2, picture(2) / 2
    model = ToyModel(Memory(a=a, b=b))
    made = sf.sample(model, sf.colour_hybrid(grey="a", colour="b"), seed=0, guidance=1).x[0]
    grey = a.mean(0, keepdim=True).expand(3, -1, -1)
    torch.testing.assert_close(made, grey + b - b.mean(0, keepdim=True), atol=1e-4, rtol=0)
    same = sf.sample(model, sf.motion_hybrid(moving="a", still="a"), seed=0, guidance=1).x[0]
    torch.testing.assert_close(same, a, atol=1e-4, rtol=0)


def test_composition_is_the_formula_of_liu_et_al() -> None:
    u, a, b = picture(0) / 4, picture(1) / 4, picture(2) / 4

    class WithNull(Memory):
        def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: list[Condition]) -> Estimate:  # noqa: ARG002
            return Estimate(x0=torch.stack([self.pictures[getattr(c, "text", "u")] for c in conditions]))

    model = ToyModel(WithNull(u=u, a=a, b=b))
    both = sf.sample(model, sf.compose("a", "b", weights=(0.8, 0.6)), seed=0, guidance=1).x[0]
    torch.testing.assert_close(both, u + 0.8 * (a - u) + 0.6 * (b - u), atol=1e-4, rtol=0)
    without = sf.sample(model, sf.compose("a", without=["b"], weights=(0.7,)), seed=0, guidance=1).x[0]
    torch.testing.assert_close(without, u + 0.7 * (a - u) - 0.7 * (b - u), atol=1e-4, rtol=0)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm++2m", "unipc"])
def test_inpainting_keeps_the_known_pixels_exactly(repeats: int, solver: str) -> None:
    p = picture(4)
    edit = sf.inpaint(p, MASK, "a", jump=2, repeats=repeats)
    made = sf.sample(ToyModel(), edit, seed=0, solver=solver, count=2).x
    outside = (MASK == 0).expand(2, 3, -1, -1)
    assert torch.equal(made[outside], p.expand(2, -1, -1, -1)[outside])
    assert not torch.allclose(made, p.expand_as(made))


def test_the_rest_of_a_mask_is_a_mask_too() -> None:
    p, model = picture(4), ToyModel()
    made = sf.sample(model, sf.inpaint(p, ~sf.Mask(MASK), "a"), seed=0)
    assert torch.equal(made.x[0][:, 4:12, 4:12], p[:, 4:12, 4:12])
    assert torch.equal(made.x, sf.sample(model, sf.inpaint(p, 1 - MASK, "a"), seed=0).x)


def test_resampling_costs_what_repaint_says() -> None:
    toy = Toy()
    sf.sample(
        ToyModel(toy), sf.inpaint(picture(4), MASK, "a", jump=10, repeats=10), seed=0, steps=50, guidance=1
    )
    assert len(toy.rows) == 410  # Lugmayr et al. 2022, T = 50


def test_translation_starts_from_the_noised_picture_and_costs_its_share() -> None:
    toy, p = Toy(), picture(5)
    seen = []
    sf.sample(
        ToyModel(toy),
        sf.translate(p, "a", strength=0.5),
        seed=3,
        steps=10,
        guidance=1,
        on_step=lambda s: seen.append(s),
    )
    assert len(toy.rows) == 5
    level = BetaTable("linear").level(0.5)
    noise = torch.randn((3, 16, 16), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(seen[0].x[0], level.alpha * p + level.sigma * noise, atol=1e-5, rtol=0)


def test_full_strength_forgets_the_picture_under_flow_matching() -> None:
    model = ToyModel(schedule=Flow())
    made = sf.sample(model, sf.translate(picture(5), "a", strength=1.0), seed=3).x
    torch.testing.assert_close(made, sf.sample(model, "a", seed=3).x, atol=1e-6, rtol=0)


def test_a_panorama_is_larger_than_the_network() -> None:
    model = ToyModel()
    made = sf.sample(model, sf.panorama("a", size=(16, 40)), seed=0)
    assert made.x.shape == (1, 3, 16, 40)
    one = sf.sample(model, sf.panorama("a", size=(16, 16)), seed=0, clip=False)
    torch.testing.assert_close(one.x, sf.sample(model, "a", seed=0, clip=False).x)


def test_nested_as_the_plan_shows_it() -> None:
    far_near = sf.hybrid(far="a skull", near="a waterfall")
    nested = sf.mean(far_near, sf.prompt("a rocket").seen("rotate_cw")).guided(7)
    assert sf.sample(ToyModel(), nested, seed=1, count=2).x.isfinite().all()


# ------------------------------------------------------------------------------------------------- recipes


def test_a_recipe_makes_its_pictures_again_and_each_alone(tmp_path: Path) -> None:
    model = ToyModel()
    edit = sf.inpaint(picture(4), MASK, sf.anagram("a", "b"), jump=2, repeats=2)
    recipe, inputs = make_recipe(
        model, edit, seed=2**64 - 1, count=3, guidance=4, solver="ddim", options={"eta": 1.0}
    )
    first = run(recipe, model, inputs)
    text = recipe.model_dump_json()
    again = run(sf.Recipe.model_validate_json(text), model, inputs)
    assert torch.equal(first.x, again.x)
    assert recipe.seeds == [2**64 - 1, 0, 1]
    alone = run(recipe.single(2), model, inputs)
    torch.testing.assert_close(alone.x[0], first.x[2], atol=1e-4, rtol=0)
    (tmp_path / "recipe.json").write_text(text)
    assert sf.read_recipe(tmp_path / "recipe.json") == recipe


def test_parameters_are_the_text_that_other_tools_read() -> None:
    recipe, _ = make_recipe(
        ToyModel(), sf.anagram("a cat", "a dog").guided(7, negative="blur"), seed=9, steps=20
    )
    first, negative, settings = recipe.parameters().split("\n")
    assert first == "a cat | a dog"
    assert negative == "Negative prompt: blur"
    assert settings.startswith(
        "Steps: 20, Sampler: dpm++2m, CFG scale: 7.0, Seed: 9, Size: 16x16, Model: toy"
    )


def test_a_seed_is_drawn_when_none_is_given() -> None:
    assert sf.sample(ToyModel(), "a", steps=1).recipe.seed != sf.sample(ToyModel(), "a", steps=1).recipe.seed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: sf.sample(m, "a", steps=0), "steps"),
        (lambda m: sf.sample(m, "a", steps=10**9), "steps"),
        (lambda m: sf.sample(m, "a", seed=2**64), "seed"),
        (lambda m: sf.sample(m, "a", seed=-1), "seed"),
        (lambda m: sf.sample(m, "a", count=0), "count"),
        (lambda m: sf.sample(m, "a", guidance=math.nan), "guidance scale"),
        (lambda m: sf.sample(m, "a", solver="magic"), "dpm\\+\\+2m"),
        (lambda m: sf.sample(m, "a", solver="ddim", options={"eta": -1.0}), "eta"),
        (lambda m: sf.sample(m, "a", solver="ddim", options={"speed": 1.0}), "speed"),
        (lambda m: sf.sample(m, "a", spacing="magic"), "karras"),
        (lambda m: sf.sample(m, "a", size=(32, 32)), "by crops"),
        (lambda m: sf.sample(m, sf.prompt("a").guided(2), guidance=3), "guidance of its own"),
        (lambda m: sf.sample(m, sf.prompt("a").low_pass(2)), "do not sum to the identity"),
        (lambda m: sf.sample(m, sf.translate(picture(0), "a", strength=0)), "strength"),
        (lambda m: sf.sample(m, sf.translate(picture(0), "a", strength=2)), "strength"),
        (lambda m: sf.sample(m, sf.translate(torch.zeros(3, 8, 8), "a")), "resize it"),
        (lambda m: sf.sample(m, Edit(expression=sf.prompt("a"), strength=0.5)), "picture to start from"),
        (lambda m: sf.sample(m, sf.inpaint(picture(0), torch.ones(1, 1, 9, 9), "a")), "mask"),
        (lambda m: sf.sample(m, sf.inpaint(picture(0), MASK, "a", repeats=3, jump=50)), "jump"),
        (lambda m: sf.anagram("a"), "at least two"),
        (lambda m: sf.anagram("a", "b", "c", view="flip"), "2 views"),
        (lambda m: sf.anagram("a", "b", view="sideways"), "rotate_cw"),
        (lambda m: sf.hybrid(far="a", near="b", sigma=(1, 2)), "1 sigmas"),
        (lambda m: sf.hybrid(far="a", near="b", sigma=-1), "sigma"),
        (lambda m: sf.compose(), "at least one"),
        (lambda m: sf.compose("a", "b", weights=(1,)), "2 prompts but 1 weights"),
    ],
)
def test_bad_values_are_refused_in_one_line(make: Callable[[ToyModel], object], message: str) -> None:
    toy = Toy()
    with pytest.raises(UsageError, match=message) as error:
        make(ToyModel(toy))
    assert "\n" not in str(error.value)
    assert toy.rows == []  # before the first step


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "not a recipe"),
        ("7", "valid dict"),
        ("model: toy\nexpression: {}\nsize: [8, 8]\nseed: 1\n", "steps: Field required"),
        ("model: toy\nexpression: {}\nsteps: 2\nsize: [8, 8]\nseed: 1\ncolour: 1\n", "colour"),
    ],
)
def test_a_recipe_file_that_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        sf.read_recipe(path)


# --------------------------------------------------------------------------------------------------- study


def test_noising_is_the_forward_process() -> None:
    p, schedule = picture(6)[None], BetaTable("linear")
    x = noised(schedule, p, 0.5, seed=4)
    level = schedule.level(0.5)
    noise = torch.randn((3, 16, 16), generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(x[0], level.alpha * p[0] + level.sigma * noise)


def test_one_step_and_iterative_denoising_recover_what_the_model_remembers() -> None:
    a = picture(7)
    model = ToyModel(Memory(a=a))
    (study,) = sf.denoise(model, picture(8)[None], "a", at=[0.5], steps=6)
    torch.testing.assert_close(study.one_step[0], a)
    torch.testing.assert_close(study.iterative[0], a, atol=1e-4, rtol=0)
    assert len(study.states) == len(study.estimates) == 6
    torch.testing.assert_close(study.states[0], study.noised)
    torch.testing.assert_close(one_step_denoised(model, study.noised, 0.5, "a"), study.one_step)


def test_blur_averages_noise_away_and_keeps_a_flat_picture() -> None:
    schedule = BetaTable("linear")
    flat = torch.full((1, 3, 64, 64), 0.5)
    x = noised(schedule, flat, 0.3)
    blurred = blur_denoised(schedule, x, 0.3, sigma=4)
    assert psnr(blurred, flat) > psnr(x / schedule.level(0.3).alpha, flat) + 10
    assert psnr(flat, flat) == math.inf
    assert psnr(flat + 0.2, flat) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("t", [0, -1, 2, math.nan])
def test_noise_levels_out_of_range_are_refused(t: float) -> None:
    with pytest.raises(UsageError, match="noise level"):
        noised(BetaTable("linear"), picture(0)[None], t)


def test_a_view_that_a_user_brings_is_sampled_and_named_in_the_recipe() -> None:
    shift = sf.LinearView(lambda x: x.roll(3, -1), lambda x: x.roll(-3, -1), "shift")
    b = picture(2)
    model = ToyModel(Memory(a=picture(1), b=b))
    made = sf.sample(model, sf.mean("a", sf.prompt("b").seen(shift), weights=(0, 1)), seed=0, guidance=1)
    torch.testing.assert_close(made.x[0], b.roll(-3, -1), atol=1e-4, rtol=0)
    assert "shift" in str(made.recipe.expression)
    with pytest.raises(UsageError, match="shift"):
        run(made.recipe, model)


@pytest.mark.parametrize("names", [("roll", "roll"), ("flip", "roll")])
def test_two_views_of_one_name_are_kept_apart(names: tuple[str, str]) -> None:
    views = [
        sf.LinearView(partial(torch.roll, shifts=n, dims=-1), partial(torch.roll, shifts=-n, dims=-1), name)
        for n, name in zip((1, 2), names, strict=True)
    ]
    model = ToyModel(Memory(a=picture(1), b=picture(2), c=picture(3)))
    recipe, inputs = make_recipe(model, sf.anagram("a", "b", "c", view=views), seed=0, guidance=1)
    assert set(views) <= set(inputs.values())
    expected = (picture(1) + picture(2).roll(-1, -1) + picture(3).roll(-2, -1)) / 3
    torch.testing.assert_close(run(recipe, model, inputs).x[0], expected, atol=1e-4, rtol=0)


def test_a_permutation_that_a_user_brings_has_a_short_name() -> None:
    turn = sf.PixelMap(torch.arange(256).flip(0).view(16, 16))
    made = sf.sample(
        ToyModel(Memory(a=picture(1), b=picture(1))), sf.anagram("a", "b", view=turn), guidance=1
    )
    torch.testing.assert_close(made.x[0], (picture(1) + picture(1).flip(-1, -2)) / 2, atol=1e-4, rtol=0)
    assert len(made.recipe.model_dump_json()) < 2000


def test_a_mask_that_is_the_rest_of_another_is_kept_so() -> None:
    rest = Edit(expression=sf.prompt("a"), mask=~sf.Mask(MASK)).mask
    assert rest == sf.Mask(1 - MASK)


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("t", [0.01, 0.35, 0.9, 1.0])
def test_iterative_denoising_takes_its_steps_from_the_noise_on(t: float, steps: int) -> None:
    _, seen = iteratively_denoised(ToyModel(), picture(1)[None], t, "a", steps=steps)
    assert seen[0].t == t
    assert len(seen) == min(steps, round(t * 1000))


def test_stochastic_denoising_draws_other_noise_than_the_picture_has() -> None:
    drawn = []
    p, level = torch.zeros(1, 3, 16, 16), BetaTable("linear").level(0.5)

    class Zero:
        def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: list[Condition]) -> Estimate:  # noqa: ARG002
            drawn.append(x)
            return Estimate(x0=torch.zeros_like(x))

    toy = ToyModel(Zero())
    x = noised(toy.schedule, p, 0.5, seed=3)
    iteratively_denoised(toy, p, 0.5, "a", steps=10, solver="ddpm", seed=3)
    added = drawn[1] - drawn[0] * (drawn[1] * drawn[0]).sum() / drawn[0].square().sum()
    assert abs(float((added * x).sum() / (added.norm() * x.norm()))) < 1e-4
    share = float((drawn[1] * drawn[0]).sum() / (drawn[0].norm() * drawn[1].norm()))
    assert 0.5 < share < 0.999  # not the very noise again, which would give 1
    assert float(drawn[1].std()) < level.sigma * 1.1


def test_parts_are_sampled_nowhere() -> None:
    for study in (one_step_denoised, iteratively_denoised):
        with pytest.raises(UsageError, match="do not sum to the identity"):
            study(ToyModel(), picture(1)[None], 0.5, sf.prompt("a").low_pass(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": "ab"}, "keep and mask go together"),
        ({"size": (-16, 16)}, "size"),
        ({"size": (10**9, 16)}, "size"),
    ],
)
def test_a_recipe_with_fields_that_mean_nothing_is_refused(change: dict[str, object], message: str) -> None:
    recipe, _ = make_recipe(ToyModel(), "a", seed=1)
    with pytest.raises(UsageError, match=message):
        parse_recipe(recipe.plain() | change)


def test_another_picture_than_the_recipes_is_refused() -> None:
    model = ToyModel()
    recipe, _ = make_recipe(model, sf.translate(picture(1), "a"), seed=1)
    assert recipe.start is not None
    with pytest.raises(UsageError, match="another one than the recipe's"):
        run(recipe, model, {recipe.start: picture(2)[None]})


def test_options_of_solvers_go_through_recipes() -> None:
    made = sf.sample(ToyModel(), "a", solver="unipc", options={"order": 3}, seed=0)
    assert made.x.isfinite().all()
    with pytest.raises(UsageError, match="eta"):
        sf.sample(ToyModel(), "a", solver="ddim", options={"eta": "half"})


@pytest.mark.parametrize("shape", [(16, 16), (2, 3, 16, 16), (3, 0, 16)])
def test_a_picture_is_one_picture(shape: tuple[int, ...]) -> None:
    for make in (sf.known, lambda p: sf.translate(p, "a"), lambda p: sf.inpaint(p, MASK, "a")):
        with pytest.raises(UsageError, match="a picture has the shape"):
            make(torch.zeros(shape))

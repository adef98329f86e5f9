"""The algebra: its identities, its invariant, and what it refuses."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.core.crops import crops
from sfumato.core.engine import Engine
from sfumato.core.expression import Expression, known, label, mean, prompt, unconditional
from sfumato.core.filters import Filter, HighPass, LowPass, Mask
from sfumato.core.frame import Frame, Prompt
from sfumato.core.guidance import CFGPlusPlus, Curve, Projected
from sfumato.core.invariant import check_whole
from sfumato.core.notation import from_json, to_json
from sfumato.core.prediction import eps_of
from sfumato.core.sampler import evaluate
from sfumato.core.schedule import Level
from sfumato.core.views import LinearView
from sfumato.errors import UsageError
from toys import Toy

LEVEL = Level(t=0.5, alpha=0.8, sigma=0.6)
SHAPE = (3, 16, 16)


def picture(seed: int, batch: int = 2) -> Tensor:
    return torch.randn((batch, *SHAPE), generator=torch.Generator().manual_seed(seed))


def value(e: Expression, x: Tensor, toy: Toy | None = None, *, now: Level = LEVEL, **frame: object) -> Tensor:
    """The expression's x0 at x, by the engine."""
    engine = Engine(toy or Toy(), {"weak": Toy(seed=1)})
    asking = evaluate(e, Frame(x=x, now=now, **frame))
    try:
        queries = next(asking)
        asking.send({q.key: a for q, a in zip(queries, engine.answer(queries), strict=True)})
    except StopIteration as end:
        return end.value.x0
    raise AssertionError("evaluated in more than one round")


# ---------------------------------------------------------------------------------------------- identities


@given(sigma=st.floats(0.3, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_low_plus_high_of_one_prompt_is_the_prompt(sigma: float, seed: int) -> None:
    x, e = picture(seed), prompt("a")
    torch.testing.assert_close(
        value(e.low_pass(sigma) + e.high_pass(sigma), x), value(e, x), atol=1e-5, rtol=0
    )


def test_identity_views_of_one_prompt_are_the_prompt() -> None:
    x, e = picture(0), prompt("a")
    torch.testing.assert_close(value(mean(e.seen("identity"), e), x), value(e, x), atol=1e-6, rtol=0)


def test_guidance_one_is_off_and_zero_is_unconditional() -> None:
    x, e = picture(0), prompt("a")
    assert torch.equal(value(e.guided(1), x), value(e, x))
    assert torch.equal(value(e.guided(0), x), value(unconditional(), x))


@given(scale=st.floats(-3, 12))
@settings(max_examples=20, deadline=None)
def test_guidance_is_the_formula_of_ho_and_salimans_in_eps(scale: float) -> None:
    x = picture(1)
    c, u = value(prompt("a"), x), value(unconditional(), x)
    eps_c, eps_u = (eps_of(x, x0, LEVEL.alpha, LEVEL.sigma) for x0 in (c, u))
    guided = eps_of(x, value(prompt("a").guided(scale), x), LEVEL.alpha, LEVEL.sigma)
    torch.testing.assert_close(guided, eps_u + scale * (eps_c - eps_u), atol=2e-4, rtol=1e-4)


def test_an_anagram_is_the_mean_of_eps_turned_back() -> None:
    x, toy = picture(2), Toy()
    eps1 = eps_of(x, value(prompt("a"), x), 0.8, 0.6)
    turned = torch.flip(x, dims=[-2])
    eps2 = eps_of(turned, value(prompt("b"), turned), 0.8, 0.6)
    expected = (eps1 + torch.flip(eps2, dims=[-2])) / 2
    both = mean(prompt("a"), prompt("b").seen("flip"))
    torch.testing.assert_close(eps_of(x, value(both, x, toy), 0.8, 0.6), expected, atol=1e-4, rtol=0)
    assert len(toy.rows) == 4


def test_a_negated_view_sees_the_negative_and_gives_back_the_positive() -> None:
    x = picture(3)
    torch.testing.assert_close(value(prompt("a").seen("negate"), x), -value(prompt("a"), -x))


def test_a_hybrid_is_low_of_one_and_high_of_the_other() -> None:
    x = picture(4)
    a, b = value(prompt("a"), x), value(prompt("b"), x)
    made = value(prompt("a").low_pass(2) + prompt("b").high_pass(2), x)
    torch.testing.assert_close(made, LowPass(2).apply(a) + HighPass(2).apply(b), atol=1e-5, rtol=0)


def test_inside_a_mask_one_prompt_outside_the_known_picture() -> None:
    x, given_ = picture(5), picture(6, 1)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:9] = 1
    region = Mask(mask)
    made = value(prompt("a").where(region) + known(given_).where(~region), x)
    torch.testing.assert_close(made[..., 4:9], value(prompt("a"), x)[..., 4:9])
    torch.testing.assert_close(made[..., :4], given_.expand(2, -1, -1, -1)[..., :4])


def test_a_known_picture_reads_as_itself_through_a_view() -> None:
    p = picture(7, 1)
    assert torch.equal(value(known(p).seen("flip"), picture(8, 1)), torch.flip(p, dims=[-2]))


def test_crops_of_the_networks_own_size_are_one_window() -> None:
    x, toy = picture(9), Toy()
    assert torch.equal(value(crops("a"), x, toy, native=(16, 16)), value(prompt("a"), x))
    assert len(toy.rows) == 2


def test_what_is_inside_crops_is_checked_at_the_size_of_a_window() -> None:
    turned = mean("a", prompt("b").seen("rotate_cw"))  # needs a square, and each window is one
    check_whole(crops(turned), (3, 16, 40), native=(16, 16))
    with pytest.raises(UsageError, match="rotate_cw needs a square picture, not 40 x 16"):
        check_whole(turned, (3, 16, 40), native=(16, 16))
    with pytest.raises(UsageError, match=r"low_pass.*do not sum to the identity"):
        check_whole(crops(prompt("a").low_pass(2)), (3, 16, 40), native=(16, 16))


def test_crops_average_the_windows_that_cover_a_pixel() -> None:
    x = torch.randn(1, 3, 16, 28, generator=torch.Generator().manual_seed(1))
    made = value(crops("a", overlap=0.5), x, native=(16, 16))
    left, middle, right = (value(prompt("a"), x[..., i : i + 16]) for i in (0, 8, 12))
    torch.testing.assert_close(made[..., :8], left[..., :8])
    torch.testing.assert_close(made[..., 8:12], (left[..., 8:12] + middle[..., :4]) / 2)
    torch.testing.assert_close(
        made[..., 12:16], (left[..., 12:16] + middle[..., 4:8] + right[..., :4]) / 3, atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(made[..., 24:], right[..., 12:])


def test_a_network_of_another_name_answers_what_names_it() -> None:
    x = picture(10)
    torch.testing.assert_close(value(prompt("a", network="weak"), x), value(prompt("a"), x, Toy(seed=1)))


# ------------------------------------------------------------------------------------------------ guidance


def test_autoguidance_pushes_away_from_the_weak_network_under_the_same_prompt() -> None:
    x = picture(11)
    strong, weak = value(prompt("a"), x), value(prompt("a"), x, Toy(seed=1))
    torch.testing.assert_close(value(prompt("a").guided(2, guide="weak"), x), weak + 2 * (strong - weak))


def test_a_negative_prompt_takes_the_place_of_no_prompt() -> None:
    x = picture(12)
    c, n = value(prompt("a"), x), value(prompt("b"), x)
    torch.testing.assert_close(value(prompt("a").guided(3, negative="b"), x), n + 3 * (c - n))


def test_guidance_acts_in_its_interval_alone_and_costs_nothing_outside() -> None:
    x, e = picture(13), prompt("a").guided(5, between=(0.6, 0.9))
    toy = Toy()
    assert torch.equal(value(e, x, toy), value(prompt("a"), x))
    assert len(toy.rows) == 2
    inside = Level(t=0.7, alpha=0.7, sigma=0.7)
    toy = Toy()
    assert not torch.equal(value(e, x, toy, now=inside), value(prompt("a"), x, now=inside))
    assert len(toy.rows) == 4


def test_a_curve_is_read_at_the_noise_level() -> None:
    curve = Curve(((0.0, 1.0), (1.0, 5.0)))
    assert curve(Level(t=0.25, alpha=1, sigma=1), None) == pytest.approx(2)
    assert curve(Level(t=0.0, alpha=1, sigma=1), None) == 1
    assert Curve(((0.4, 2.0), (0.6, 4.0)))(Level(t=0.9, alpha=1, sigma=1), None) == 4
    x = picture(14)
    torch.testing.assert_close(value(prompt("a").guided(curve), x), value(prompt("a").guided(3), x))


def test_cfg_plus_plus_under_ddim_renoises_with_the_unconditional_eps() -> None:
    # Chung et al. 2024, algorithm 2: x0 = u + w (c - u); x_s = alpha_s x0 + sigma_s eps_u.
    x, w = picture(15), 0.6
    to = Level(t=0.4, alpha=0.9, sigma=math.sqrt(1 - 0.81))
    c, u = value(prompt("a"), x), value(unconditional(), x)
    x0 = u + w * (c - u)
    expected = to.alpha * x0 + to.sigma * eps_of(x, u, LEVEL.alpha, LEVEL.sigma)
    guided = value(prompt("a").guided(CFGPlusPlus(w)), x, to=to)
    made = to.alpha * guided + to.sigma * eps_of(x, guided, LEVEL.alpha, LEVEL.sigma)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


def test_projected_guidance_drops_what_is_parallel_and_is_plain_when_told_to() -> None:
    x = picture(16)
    c = value(prompt("a"), x)
    plain = value(prompt("a").guided(4), x)
    made = value(prompt("a").guided(4, projection=Projected(parallel=1)), x)
    torch.testing.assert_close(made, plain, atol=1e-5, rtol=1e-5)
    push = value(prompt("a").guided(4, projection=Projected()), x) - c
    assert (push * c).sum(dim=(1, 2, 3)).abs().max() < 1e-3 * push.norm() * c.norm()
    held = value(prompt("a").guided(4, projection=Projected(parallel=1, radius=0.5)), x) - c
    torch.testing.assert_close(held.flatten(1).norm(dim=1), torch.full((2,), 1.5), atol=1e-4, rtol=0)


def test_the_momentum_of_projected_guidance_averages_over_steps() -> None:
    x = picture(17)
    projection = Projected(parallel=1, momentum=-0.5)
    memory: dict[object, object] = {}
    e = prompt("a").guided(2, projection=projection)
    c, u = value(prompt("a"), x), value(unconditional(), x)
    for _ in range(2):  # asked twice at one level, the mean moves once
        torch.testing.assert_close(value(e, x, memory=memory), c + (c - u), atol=1e-5, rtol=1e-5)
    below = Level(t=0.4, alpha=0.8, sigma=0.6)
    c2, u2 = value(prompt("a"), x, now=below), value(unconditional(), x, now=below)
    expected = c2 + (c2 - u2) - 0.5 * (c - u)
    torch.testing.assert_close(value(e, x, now=below, memory=memory), expected, atol=1e-5, rtol=1e-5)


def test_guidance_more_than_four_deep_is_refused_in_recipes() -> None:
    e = prompt("a")
    for _ in range(4):
        e = e.guided(2)
    assert from_json(to_json(e), {}) == e
    with pytest.raises(UsageError, match="at most 4 levels deep"):
        from_json(to_json(e.guided(2)), {})


def test_clipping_and_dynamic_thresholding() -> None:
    p = picture(18, 1) * 2
    e = known(p)
    assert torch.equal(value(e.clipped(), picture(0, 1)), p.clamp(-1, 1))
    s = p.flatten().abs().quantile(0.9).clamp(1, 1.5)
    made = value(e.clipped(1.5, quantile=0.9), picture(0, 1))
    torch.testing.assert_close(made, p.clamp(-s, s) / s)


# ------------------------------------------------------------------------------------------- learned variance


def test_a_learned_variance_is_turned_and_averaged_never_negated_nor_filtered() -> None:
    x, toy = picture(19), Toy(variance=True)

    def variance(e: Expression) -> Tensor:
        engine = Engine(toy)
        asking = evaluate(e, Frame(x=x, now=LEVEL))
        queries = next(asking)
        with pytest.raises(StopIteration) as end:
            asking.send({q.key: a for q, a in zip(queries, engine.answer(queries), strict=True)})
        return end.value.value.variance

    plain = torch.sin(3 * value(prompt("a"), x))
    torch.testing.assert_close(variance(prompt("a").guided(7)), plain)
    torch.testing.assert_close(variance(prompt("a").low_pass(2) + prompt("a").high_pass(2)), plain)
    turned = torch.sin(3 * value(prompt("b"), torch.flip(x, dims=[-2])))
    both = variance(mean(prompt("a"), prompt("b").seen("flip")))
    torch.testing.assert_close(both, (plain + torch.flip(turned, dims=[-2])) / 2)
    torch.testing.assert_close(variance(prompt("a").seen("negate")), torch.sin(3 * value(prompt("a"), -x)))


# ------------------------------------------------------------------------------------------ the invariant

leaves = st.sampled_from([prompt("a"), prompt("b"), label(3), unconditional()])
VIEWS = ["flip", "mirror", "rotate_cw", "rotate_180", "negate", "skew", "patch_permute:patches=4,seed=1"]


def nodes(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def weighted(pair: tuple[Expression, Expression], w: float) -> Expression:
        return mean(*pair, weights=(w, 1 - w))

    two = st.tuples(children, children)
    return st.one_of(
        st.builds(lambda e, v: e.seen(v), children, st.sampled_from(VIEWS)),
        st.builds(lambda e, s: e.guided(s), children, st.floats(-2, 9)),
        st.builds(weighted, two, st.floats(-1, 2)),
        st.builds(lambda p, s: p[0].low_pass(s) + p[1].high_pass(s), two, st.floats(0.3, 4)),
        st.builds(lambda e: crops(e, overlap=0.5), children),
    )


whole = st.recursive(leaves, nodes, max_leaves=6)


@given(e=whole)
@settings(max_examples=60, deadline=None)
def test_every_nesting_of_whole_expressions_is_whole(e: Expression) -> None:
    check_whole(e, SHAPE)


@given(e=whole)
@settings(max_examples=60, deadline=None)
def test_expressions_survive_the_round_trip_through_json(e: Expression) -> None:
    assert from_json(to_json(e), {}) == e


@given(e=whole)
@settings(max_examples=30, deadline=None)
def test_if_all_prompts_say_the_same_views_apart_the_answer_is_that(e: Expression) -> None:
    # Every leaf a constant picture that no view or filter changes: the expression must give it back.
    flat = torch.full((1, *SHAPE), 0.25)

    class Flat:
        def denoise(self, x: Tensor, t: Tensor, conditions: object) -> object:  # noqa: ARG002
            from sfumato.core.prediction import Estimate

            return Estimate(x0=torch.full_like(x, 0.25))

    if "negate" in str(to_json(e)):
        return
    torch.testing.assert_close(value(e, picture(0, 1), Flat()), flat, atol=1e-4, rtol=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("e", "named"),
    [
        (prompt("a").low_pass(2), "low_pass"),
        (prompt("a").low_pass(2) + prompt("b").high_pass(1), "sum"),
        (mean(prompt("a"), prompt("b").low_pass(2)), "mean"),
        (mean(prompt("c"), prompt("a") + prompt("b")).guided(7), "mean"),
        ((prompt("a") + prompt("b")).seen("flip").guided(7), "sum"),
        (prompt("a").where(torch.ones(1, 1, 16, 16) * 0.5), "mask"),
    ],
)
def test_a_part_is_refused_and_the_node_named(e: Expression, named: str) -> None:
    with pytest.raises(UsageError, match=rf"^{named}.*do not sum to the identity \(residual \d"):
        check_whole(e, SHAPE)


def test_views_that_are_not_orthogonal_are_refused() -> None:
    half = LinearView(lambda x: x / 2, lambda x: x * 2, "half")
    with pytest.raises(UsageError, match="half"):
        check_whole(mean(prompt("a"), prompt("b").seen(half)), SHAPE)


@dataclass(frozen=True)
class Absolute(Filter):
    name = "absolute"
    description = "not linear"

    def apply(self, x: Tensor) -> Tensor:
        return x.abs()


def test_filters_that_are_not_linear_are_refused() -> None:
    band = Absolute()
    e = prompt("a").filtered(band) + prompt("b").filtered(band.complement())
    with pytest.raises(UsageError, match="the filter is not linear"):
        check_whole(e, SHAPE)


def test_a_known_picture_of_another_size_is_refused_before_the_first_step() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        check_whole(mean(prompt("a"), known(torch.zeros(1, 3, 8, 8))), SHAPE)


# ---------------------------------------------------------------------------------------------- bad values


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mean(), "at least one"),
        (lambda: mean("a", "b", weights=(0.5, 0.6)), "sum to 1"),
        (lambda: mean("a", "b", weights=(1.0,)), "2 terms but 1 weights"),
        (lambda: mean("a", "b", weights=(math.nan, 1)), "sum to"),
        (lambda: prompt("a").guided(math.nan), "finite number"),
        (lambda: prompt("a").guided(math.inf), "finite number"),
        (lambda: prompt("a").guided(3, between=(0.5, 0.2)), "lo <= hi"),
        (lambda: prompt("a").guided(Curve(())), "points"),
        (lambda: prompt("a").guided(CFGPlusPlus(-1)), "CFG"),
        (lambda: prompt("a").clipped(0.5), "1 or more"),
        (lambda: prompt("a").clipped(quantile=0), "quantile"),
        (lambda: prompt("a").seen("sideways"), "flip"),
        (lambda: crops("a", overlap=1), "overlap"),
        (lambda: mean(7), "expression or a text"),
        (lambda: Projected(radius=0), "radius"),
        (lambda: value(crops("a"), picture(0), native=(32, 32)), "smaller than the network"),
        (lambda: value(prompt("a", network="none"), picture(0)), "'none'; the run has weak"),
        (lambda: from_json({"prompt": "a", "colour": 1}, {}), "unknown colour"),
        (lambda: from_json({"paint": "a"}, {}), "no kind of expression"),
        (lambda: from_json([1], {}), "an expression is an object"),
        (lambda: from_json({"seen": "flip"}, {}), "'of' is missing"),
        (lambda: from_json({"label": "x"}, {}), "a condition is"),
        (lambda: from_json({"guided": "much", "of": {"prompt": "a"}}, {}), "guided"),
        (lambda: from_json({"known": "abc"}, {}), "not at hand"),
    ],
)
def test_bad_values_are_refused_in_one_line(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        make()  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_a_recipe_too_deep_or_too_large_is_refused() -> None:
    deep: dict[str, object] = {"prompt": "a"}
    for _ in range(40):
        deep = {"seen": "flip", "of": deep}
    wide = {"sum": [{"prompt": "a"}] * 300}
    for data in (deep, wide):
        with pytest.raises(UsageError, match="at most 256 nodes, 32 deep"):
            from_json(data, {})


def test_guidance_by_a_free_function_sees_both_levels() -> None:
    x, to = picture(20), Level(t=0.4, alpha=0.9, sigma=0.4)
    seen = []

    def scale(now: Level, then: Level | None) -> float:
        seen.append((now, then))
        return 3.0

    torch.testing.assert_close(value(prompt("a").guided(scale), x, to=to), value(prompt("a").guided(3), x))
    assert seen[0] == (LEVEL, to)


def test_prompts_compare_by_text() -> None:
    assert prompt("a") == prompt("a") != prompt("b")
    assert Prompt("a") == Prompt("a")

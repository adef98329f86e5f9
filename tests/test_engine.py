"""The engine: what it asks, how often, and that company changes nothing."""

import pytest
import torch

from sfumato.core.engine import Engine
from sfumato.core.expression import Expression, mean, prompt
from sfumato.core.filters import bands
from sfumato.core.noise import Noise
from sfumato.core.path import make_path
from sfumato.core.prediction import Estimate
from sfumato.core.sampler import Step, sampler
from sfumato.core.schedule import BetaTable
from sfumato.core.solvers import make_solver
from sfumato.errors import SfumatoError, UsageError
from sfumato.techniques import anagram, hybrid
from toys import Toy

SCHEDULE = BetaTable("linear")
SHAPE = (3, 16, 16)


def asking(
    e: Expression, seeds: list[int], *, steps: int = 6, solver: str = "ddpm", **more: object
) -> object:
    noise = Noise(seeds, SHAPE)
    return sampler(
        e,
        x=noise.draw(),
        path=make_path(SCHEDULE, steps),
        schedule=SCHEDULE,
        solver=make_solver(solver),
        draw=noise.draw,
        **more,
    )


def rows_per_step(e: Expression, pictures: int = 1) -> float:
    engine = Engine(Toy())
    engine.run(asking(e, list(range(pictures))))
    return engine.count.rows / 6


@pytest.mark.parametrize(
    ("e", "rows"),
    [
        (prompt("a"), 1),
        (prompt("a").guided(7), 2),
        (hybrid(far="a", near="b").guided(7), 3),
        (anagram("a", "b").guided(7), 4),
        (hybrid(far="a", middle="b", near="c"), 3),
        (hybrid(far="a", middle="b", near="c").guided(7), 4),
        (prompt("a").guided(7, between=(0.0, 0.0)), 1),
        (prompt("a").guided(7, negative="b"), 2),
        (mean("a", "a").guided(7), 2),
        (mean("a", "b", weights=(1, 0)), 1),
        (anagram("a", "b", view="identity"), 2),
        (anagram(anagram("a", "b"), "c", view="rotate_cw"), 3),
    ],
)
@pytest.mark.parametrize("pictures", [1, 3])
def test_rows_that_a_step_asks(e: Expression, rows: int, pictures: int) -> None:
    assert rows_per_step(e, pictures) == rows * pictures


def test_all_rows_of_a_step_go_through_one_forward() -> None:
    toy = Toy()
    engine = Engine(toy)
    engine.run(asking(anagram("a", "b").guided(7), [0, 1]))
    assert toy.forwards == [8] * 6
    assert engine.count.forwards == 6


def test_forwards_hold_at_most_max_rows() -> None:
    toy = Toy()
    small = Engine(toy, max_rows=3)
    (x,) = small.run(asking(anagram("a", "b").guided(7), [0, 1]))
    assert toy.forwards == [3, 3, 2] * 6
    (y,) = Engine(Toy()).run(asking(anagram("a", "b").guided(7), [0, 1]))
    torch.testing.assert_close(x, y, atol=1e-5, rtol=0)


def test_two_networks_answer_in_two_groups() -> None:
    strong, weak = Toy(), Toy(seed=1)
    engine = Engine(strong, {"weak": weak})
    engine.run(asking(prompt("a").guided(2, guide="weak"), [0]))
    assert strong.forwards == weak.forwards == [1] * 6


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm++2m", "heun", "unipc"])
def test_a_picture_is_the_same_alone_in_a_batch_and_in_company(solver: str) -> None:
    e = anagram("a", "b").guided(3)
    (alone,) = Engine(Toy()).run(asking(e, [5], solver=solver))
    (batch,) = Engine(Toy()).run(asking(e, list(range(8)), solver=solver))
    torch.testing.assert_close(batch[5:6], alone, atol=1e-4, rtol=0)
    toy = Toy()
    others = [
        asking(prompt("c"), [9], steps=3),
        asking(hybrid(far="a", near="d"), [7, 8], steps=11, solver="ddim"),
    ]
    _, mixed, _ = Engine(toy, max_rows=16).run(others[0], asking(e, [5], solver=solver), others[1])
    torch.testing.assert_close(mixed, alone, atol=1e-4, rtol=0)
    assert max(toy.forwards) > 4  # rows of different requests did share forwards


def test_the_generators_are_one_per_picture() -> None:
    noise, alone = Noise([3, 4], SHAPE), Noise([4], SHAPE)
    for _ in range(3):
        assert torch.equal(noise.draw()[1:], alone.draw())
    reference = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(4))
    assert torch.equal(Noise([4], SHAPE).draw(), reference)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(UsageError, match="out of range"):
        Noise([seed], SHAPE)
    with pytest.raises(UsageError, match="no seeds"):
        Noise([], SHAPE)


def test_values_that_are_not_finite_stop_with_a_word_about_dtype() -> None:
    class Broken:
        def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: object) -> Estimate:  # noqa: ARG002
            return Estimate(x0=x * float("nan"))

    with pytest.raises(SfumatoError, match="not finite: use float32"):
        Engine(Broken()).run(asking(prompt("a"), [0]))


def test_max_rows_is_at_least_one() -> None:
    with pytest.raises(UsageError, match="max_rows"):
        Engine(Toy(), max_rows=0)


# ---------------------------------------------------------------------------------------------- the loop


def test_on_step_sees_every_step_and_can_stop() -> None:
    seen: list[Step] = []
    Engine(Toy()).run(asking(prompt("a"), [0], on_step=lambda s: seen.append(s)))
    assert [s.index for s in seen] == list(range(6))
    assert all(s.total == 6 for s in seen)
    assert [s.t for s in seen] == pytest.approx([1 - i / 6 for i in range(6)], abs=2e-3)
    toy = Toy()
    stopped: list[Step] = []

    def stop(step: Step) -> bool:
        stopped.append(step)
        return step.index == 2

    (x,) = Engine(toy).run(asking(prompt("a"), [0], on_step=stop))
    assert len(toy.rows) == 3
    assert torch.equal(x, stopped[-1].x0)


def test_heun_reports_the_estimate_where_the_step_began() -> None:
    seen: list[Step] = []
    Engine(Toy()).run(asking(prompt("a"), [0], solver="heun", on_step=lambda s: seen.append(s)))
    first = seen[0]
    answer = Toy().denoise(first.x, torch.tensor([first.t]), [prompt("a").condition])  # type: ignore[attr-defined]
    torch.testing.assert_close(first.x0, answer.x0, atol=1e-6, rtol=0)


def test_low_plus_high_of_one_prompt_is_the_plain_sample() -> None:
    for e in (
        hybrid(far="a", near="a"),
        hybrid(far="a", middle="a", near="a"),
        mean("a", "a"),
        anagram("a", "a", view="identity"),
    ):
        (made,) = Engine(Toy()).run(asking(e, [0, 1], solver="dpm++2m"))
        (plain,) = Engine(Toy()).run(asking(prompt("a"), [0, 1], solver="dpm++2m"))
        torch.testing.assert_close(made, plain, atol=1e-5, rtol=0)


def test_bands_are_three() -> None:
    assert len(bands((2.0, 1.0))) == 3

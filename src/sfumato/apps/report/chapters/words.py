"""Pictures from words: steps, several seeds, pure noise, guidance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.page import Block, Row
from sfumato.apps.report.picture_sets import PictureSet, make_row
from sfumato.apps.report.snippets import call, literal
from sfumato.apps.report.workspace import slug
from sfumato.core.expression import unconditional

if TYPE_CHECKING:
    from sfumato.apps.report.workspace import Workspace

FROM_NOISE = 5  # pictures without a prompt


def steps(work: Workspace) -> Iterator[Block]:
    """One seed, several prompts, few steps against many."""
    for count in work.tour.steps:
        sets = [
            PictureSet(
                what=literal(prompt),
                command=("generate", prompt),
                name=f"{slug(prompt)}-{count}",
                seed=work.tour.seed,
                steps=count,
                alt=f"{prompt}, drawn in {count} steps",
                caption=prompt,
            )
            for prompt in work.tour.prompts
        ]
        pictures, code = make_row(work, sets)
        yield Row(title=f"{count} steps, seed {work.tour.seed}", pictures=pictures, code=code)


def prompts(work: Workspace) -> Iterator[Block]:
    """Several pictures of each prompt, none of them chosen."""
    sets = [
        PictureSet(
            what=literal(prompt),
            command=("generate", prompt),
            name=slug(prompt),
            seed=work.tour.seed,
            count=work.count,
            alt=prompt,
            caption=prompt,
        )
        for prompt in work.tour.prompts
    ]
    pictures, code = make_row(work, sets)
    seeds = f"seeds {work.tour.seed} to {work.tour.seed + work.count - 1}"
    yield Row(title=f"Each prompt, {seeds}", pictures=pictures, columns=2 * work.count, code=code)


def from_noise(work: Workspace) -> Iterator[Block]:
    """Sampling from pure noise, without a prompt and without guidance."""
    unprompted = PictureSet(
        what=call(unconditional),
        command=("generate",),
        name="unprompted",
        seed=work.tour.seed,
        count=FROM_NOISE,
        guidance=1,
        alt="a picture without a prompt",
    )
    pictures, code = make_row(work, [unprompted])
    numbered = [
        picture.model_copy(update={"caption": f"seed {work.tour.seed + i}"})
        for i, picture in enumerate(pictures)
    ]
    yield Row(
        title="From noise alone, no prompt, no guidance",
        pictures=tuple(numbered),
        columns=FROM_NOISE,
        code=code,
    )


def guidance(work: Workspace) -> Iterator[Block]:
    """Classifier-free guidance off and on, and a sweep of its scale."""
    prompt = work.tour.guided
    if prompt is None:
        return
    own = work.model.defaults.guidance
    for name, scale, words in (
        ("off", 1.0, "off (scale 1)"),
        ("on", None, f"on, the default scale of {own:g}"),
    ):
        one = PictureSet(
            what=literal(prompt),
            command=("generate", prompt),
            name=name,
            seed=work.tour.seed,
            count=max(3, work.count),
            guidance=scale,
            alt=f"{prompt}, guidance {name}",
        )
        pictures, code = make_row(work, [one])
        yield Row(title=f"“{prompt}”, guidance {words}", pictures=pictures, code=code)
    sets = [
        PictureSet(
            what=literal(prompt),
            command=("generate", prompt),
            name=f"scale-{scale:g}",
            seed=work.tour.seed,
            guidance=scale,
            alt=f"{prompt} at guidance {scale:g}",
            caption=f"{scale:g}",
        )
        for scale in work.tour.scales
    ]
    pictures, code = make_row(work, sets)
    yield Row(
        title="One seed at rising scales",
        note="The scale stands under each picture; 1 is off.",
        pictures=pictures,
        columns=len(pictures),
        code=code,
    )

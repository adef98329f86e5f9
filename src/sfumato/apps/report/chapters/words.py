"""Pictures from words: steps, several seeds, pure noise, guidance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.page import Block
from sfumato.apps.report.picture_sets import make_row, prompted
from sfumato.apps.report.workspace import slug

if TYPE_CHECKING:
    from sfumato.apps.report.workspace import Workspace

FROM_NOISE = 5  # pictures without a prompt


def steps(work: Workspace) -> Iterator[Block]:
    """One seed, several prompts, few steps against many."""
    seed = work.tour.seed
    for count in work.tour.steps:
        sets = [
            prompted(
                prompt,
                name=f"{slug(prompt)}-{count}",
                seed=seed,
                steps=count,
                alt=f"{prompt}, drawn in {count} steps",
                caption=prompt,
            )
            for prompt in work.tour.prompts
        ]
        yield make_row(work, f"{count} steps, seed {seed}", sets)


def prompts(work: Workspace) -> Iterator[Block]:
    """Several pictures of each prompt, none of them chosen."""
    seed, count = work.tour.seed, work.count
    sets = [
        prompted(prompt, name=slug(prompt), seed=seed, count=count, alt=prompt, caption=prompt)
        for prompt in work.tour.prompts
    ]
    yield make_row(work, f"Each prompt, seeds {seed} to {seed + count - 1}", sets, columns=2 * count)


def from_noise(work: Workspace) -> Iterator[Block]:
    """Sampling from pure noise, without a prompt and without guidance."""
    seed, title = work.tour.seed, "From noise alone, no prompt, no guidance"
    alt = "a picture without a prompt"
    unprompted = prompted(None, name="unprompted", seed=seed, count=FROM_NOISE, guidance=1, alt=alt)
    row = make_row(work, title, [unprompted], columns=FROM_NOISE)
    numbered = [
        picture.model_copy(update={"caption": f"seed {seed + i}"}) for i, picture in enumerate(row.pictures)
    ]
    yield row.model_copy(update={"pictures": tuple(numbered)})


def guidance(work: Workspace) -> Iterator[Block]:
    """Classifier-free guidance off and on, and a sweep of its scale."""
    prompt, seed, count = work.tour.guided, work.tour.seed, max(3, work.count)
    if prompt is None:
        return
    own = f"on, the default scale of {work.model.defaults.guidance:g}"
    for name, scale, words in (("off", 1.0, "off (scale 1)"), ("on", None, own)):
        alt = f"{prompt}, guidance {name}"
        one = prompted(prompt, name=name, seed=seed, count=count, guidance=scale, alt=alt)
        yield make_row(work, f"“{prompt}”, guidance {words}", [one])
    sets = [
        prompted(
            prompt,
            name=f"scale-{scale:g}",
            seed=seed,
            guidance=scale,
            alt=f"{prompt} at guidance {scale:g}",
            caption=f"{scale:g}",
        )
        for scale in work.tour.scales
    ]
    note = "The scale stands under each picture; 1 is off."
    yield make_row(work, "One seed at rising scales", sets, note=note, columns=len(sets))

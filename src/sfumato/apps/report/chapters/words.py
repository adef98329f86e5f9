"""Pictures from words: steps, pure noise, guidance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.desk import slug
from sfumato.apps.report.page import Block, Row
from sfumato.apps.report.said import as_said, say
from sfumato.apps.report.shots import Shot, source, take
from sfumato.core.expression import unconditional

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk

FROM_NOISE = 5  # pictures that nothing was said about


def steps(desk: Desk) -> Iterator[Block]:
    """One seed, several prompts, few steps against many."""
    for count in desk.tour.steps:
        shots = [
            Shot(
                what=as_said(prompt),
                command=("generate", prompt),
                name=f"0-{slug(prompt)}-{count}",
                seed=desk.tour.seed,
                steps=count,
                alt=f"{prompt}, drawn in {count} steps",
                caption=prompt,
            )
            for prompt in desk.tour.prompts
        ]
        pictures = [shown for (shown,) in take(desk, shots)]
        title = f"{count} steps, seed {desk.tour.seed}"
        yield Row(title=title, pictures=tuple(pictures), source=source(desk, shots))


def from_noise(desk: Desk) -> Iterator[Block]:
    """Sampling from pure noise, without a word and without guidance."""
    shot = Shot(
        what=say(unconditional),
        command=("generate",),
        name="5-unasked",
        seed=desk.tour.seed,
        count=FROM_NOISE,
        guidance=1,
        alt="a picture that nothing was said about",
    )
    (pictures,) = take(desk, [shot])
    numbered = [
        shown.model_copy(update={"caption": f"seed {desk.tour.seed + i}"}) for i, shown in enumerate(pictures)
    ]
    yield Row(
        title="From noise alone, no prompt, no guidance",
        pictures=tuple(numbered),
        columns=FROM_NOISE,
        source=source(desk, [shot]),
    )


def guidance(desk: Desk) -> Iterator[Block]:
    """Classifier-free guidance off and on, and a sweep of its scale."""
    prompt, seed = desk.tour.guided, desk.tour.seed
    own = desk.model.defaults.guidance
    for name, scale in (("off", 1.0), ("on", None)):
        shot = Shot(
            what=as_said(prompt),
            command=("generate", prompt),
            name=f"6-{name}",
            seed=seed,
            count=max(3, desk.count),
            guidance=scale,
            alt=f"{prompt}, guidance {name}",
        )
        (pictures,) = take(desk, [shot])
        said = "off (scale 1)" if scale is not None else f"on, the model's own scale of {own:g}"
        yield Row(title=f"“{prompt}”, guidance {said}", pictures=tuple(pictures), source=source(desk, [shot]))
    shots = [
        Shot(
            what=as_said(prompt),
            command=("generate", prompt),
            name=f"6-scale-{scale:g}",
            seed=seed,
            guidance=scale,
            alt=f"{prompt} at guidance {scale:g}",
            caption=f"{scale:g}",
        )
        for scale in desk.tour.scales
    ]
    pictures = [shown for (shown,) in take(desk, shots)]
    yield Row(
        title="One seed at rising scales",
        note="The scale stands under each picture; 1 is off.",
        pictures=tuple(pictures),
        columns=len(pictures),
        source=source(desk, shots),
    )

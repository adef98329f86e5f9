"""The sections: their titles, what to see in them, and who makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.apps.report.chapters import beyond, edits, illusions, noise, scratch, words
from sfumato.apps.report.page import Block

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A section of the report. Its formula is the macro of its id in templates/formulas.html."""

    id: str
    number: str
    part: str
    title: str
    see: str
    make: Callable[[Desk], Iterator[Block]]


CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        id="0",
        number="0",
        part="A",
        title="Words into pictures",
        see="All of these have one seed: the same noise, read under another sentence. Few steps give the "
        "layout and the colours; more of them sharpen what is there and seldom change what it is.",
        make=words.steps,
    ),
    Chapter(
        id="1",
        number="1",
        part="A",
        title="The forward process",
        see="The picture fades and the noise grows, until at t = 1 nothing of it is left. Outlines outlive "
        "textures: they are large, and the noise is fine.",
        make=noise.forward,
    ),
    Chapter(
        id="2",
        number="2",
        part="A",
        title="Denoising by blur",
        see="A blur averages the noise away, and the picture with it. No width of it gives back an edge: "
        "it knows nothing of pictures.",
        make=noise.blur,
    ),
    Chapter(
        id="3",
        number="3",
        part="A",
        title="Denoising in one step",
        see="The network was told what the picture shows. Near the data it is nearly right; from much "
        "noise it answers with the mean of all pictures that fit, which is soft.",
        make=noise.one_step,
    ),
    Chapter(
        id="4",
        number="4",
        part="A",
        title="Denoising step by step",
        see="The same network, asked again and again on the way down: details that one look could only "
        "average are decided one after the other. The answer is sharper, though not always nearer to "
        "the original.",
        make=noise.iterative,
    ),
    Chapter(
        id="5",
        number="5",
        part="A",
        title="Out of pure noise",
        see="Nothing was asked, so anything that the model has seen may come, and often something in "
        "between. This is what guidance pushes away from.",
        make=words.from_noise,
    ),
    Chapter(
        id="6",
        number="6",
        part="A",
        title="Classifier-free guidance",
        see="Off, the prompt is a hint. On, it is an order. Raising the scale trades variety for "
        "obedience, until colours burn and shapes harden.",
        make=words.guidance,
    ),
    Chapter(
        id="7",
        number="7",
        part="A",
        title="From picture to picture",
        see="The later sampling starts, the more of the picture stays: from step 1 almost nothing, from "
        "step 20 almost all. With a mask, the rest stays to the pixel, and the new part has to get "
        "along with it.",
        make=edits.edits,
    ),
    Chapter(
        id="8",
        number="8",
        part="A",
        title="Visual anagrams",
        see="One picture, two readings. Watch it turn: nothing is added or taken away, the pixels only "
        "change places (or sign), and the other subject appears.",
        make=illusions.anagrams,
    ),
    Chapter(
        id="9",
        number="9",
        part="A",
        title="Hybrid images",
        see="Move the slider, or step back from the screen: fine detail is lost first, and with it the "
        "subject that is seen from near.",
        make=illusions.hybrids,
    ),
    Chapter(
        id="10",
        number="10",
        part="A",
        title="Beyond",
        see="Every technique above is a linear map of answers, so they add up, nest and tile: three "
        "bands, two prompts at once, a prompt taken away, a reading inside a reading, a canvas of "
        "many windows.",
        make=beyond.beyond,
    ),
    Chapter(
        id="b1",
        number="1",
        part="B",
        title="A denoiser of one noise level",
        see="After one epoch strokes come back, after five they are clean. Below its own σ it does too "
        "much; above it leaves noise or invents strokes.",
        make=scratch.one_noise_level,
    ),
    Chapter(
        id="b2",
        number="2",
        part="B",
        title="Told the time",
        see="The same UNet, told how much noise there is, can walk all the way from noise to a digit. "
        "Which digit, nobody asked.",
        make=scratch.time,
    ),
    Chapter(
        id="b3",
        number="3",
        part="B",
        title="Told the class, and guided",
        see="Now the digit that is asked for comes. The modern preset is smaller, trains in a fraction "
        "of the time, and needs ten steps.",
        make=scratch.classes,
    ),
)

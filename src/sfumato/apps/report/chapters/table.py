"""The sections of the report and of the demo: their titles, what to see in them, and what makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sfumato.apps.report.chapters import beyond, edits, illusions, noise, scratch, words
from sfumato.apps.report.page import Block

if TYPE_CHECKING:
    from sfumato.apps.report.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A section of a page.

    id: names its address and its files. label: letter of its part and number. formula: the macro of
    templates/formulas.html, by default that of the id. subject: by its name the model and tour that are
    shown; None where a section takes its models from the trainings.
    """

    id: str
    label: str
    title: str
    see: str
    make: Callable[[Workspace], Iterator[Block]]
    formula: str = ""
    subject: str | None = "model"

    @property
    def part(self) -> str:
        """The letter of its part."""
        return self.label[0]

    @property
    def number(self) -> str:
        """Its number in the part."""
        return self.label[1:]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a page consists of. parts: title and text by letter."""

    parts: Mapping[str, tuple[str, str]]
    chapters: tuple[Chapter, ...]

    def chapter(self, name: str, **changes: Any) -> Chapter:
        """The chapter of an id, changed."""
        (found,) = (chapter for chapter in self.chapters if chapter.id == name)
        return replace(found, formula=found.formula or name, **changes)


_REPORT: tuple[Chapter, ...] = (
    Chapter(
        id="0",
        label="A0",
        title="Words into pictures",
        see="All of these have one seed: the same noise, read under another sentence. Few steps give the "
        "layout and the colours; more of them sharpen what is there and seldom change what it is.",
        make=words.steps,
    ),
    Chapter(
        id="1",
        label="A1",
        title="The forward process",
        see="The picture fades and the noise grows, until at t = 1 nothing of it is left. Outlines outlive "
        "textures: they are large, and the noise is fine.",
        make=noise.forward,
    ),
    Chapter(
        id="2",
        label="A2",
        title="Denoising by blur",
        see="A blur averages the noise away, and the picture with it. No width of it gives back an edge: "
        "it knows nothing of pictures.",
        make=noise.blur,
    ),
    Chapter(
        id="3",
        label="A3",
        title="Denoising in one step",
        see="The network was told what the picture shows. Near the data it is nearly right; from much "
        "noise it answers with the mean of all pictures that fit, which is soft.",
        make=noise.one_step,
    ),
    Chapter(
        id="4",
        label="A4",
        title="Denoising step by step",
        see="The same network, asked again and again on the way down: details that one look could only "
        "average are decided one after the other. The answer is sharper, though not always nearer to "
        "the original.",
        make=noise.iterative,
    ),
    Chapter(
        id="5",
        label="A5",
        title="Out of pure noise",
        see="Nothing was asked, so anything that the model has seen may come, and often something in "
        "between. This is what guidance pushes away from.",
        make=words.from_noise,
    ),
    Chapter(
        id="6",
        label="A6",
        title="Classifier-free guidance",
        see="Off, the prompt is a hint. On, it is an order. Raising the scale trades variety for "
        "obedience, until colours burn and shapes harden.",
        make=words.guidance,
    ),
    Chapter(
        id="7",
        label="A7",
        title="From picture to picture",
        see="The later sampling starts, the more of the picture stays: from an early step almost nothing, "
        "from a late one almost all. With a mask, the rest stays to the pixel, and the new part has to get "
        "along with it.",
        make=edits.edits,
    ),
    Chapter(
        id="8",
        label="A8",
        title="Visual anagrams",
        see="One picture, two readings. Watch it turn: nothing is added or taken away, the pixels only "
        "change places (or sign), and the other subject appears.",
        make=illusions.anagrams,
    ),
    Chapter(
        id="9",
        label="A9",
        title="Hybrid images",
        see="Move the slider, or step back from the screen: fine detail is lost first, and with it the "
        "subject that is seen from near.",
        make=illusions.hybrids,
    ),
    Chapter(
        id="10",
        label="A10",
        title="Beyond",
        see="Every technique above is a linear map of answers, so they add up, nest and tile: three "
        "bands, two prompts at once, a prompt taken away, a reading inside a reading, a canvas of "
        "many windows.",
        make=beyond.beyond,
    ),
    Chapter(
        id="b1",
        label="B1",
        title="A denoiser of one noise level",
        see="After one epoch strokes come back, after five they are clean. Below its own σ it does too "
        "much; above it leaves noise or invents strokes.",
        make=scratch.one_noise_level,
        subject=None,
    ),
    Chapter(
        id="b2",
        label="B2",
        title="Told the time",
        see="The same UNet, told how much noise there is, can walk all the way from noise to a digit. "
        "Which digit, nobody asked.",
        make=scratch.time,
        subject=None,
    ),
    Chapter(
        id="b3",
        label="B3",
        title="Told the class, and guided",
        see="Now the digit that is asked for comes. The modern preset is smaller, trains in a fraction "
        "of the time, and needs ten steps.",
        make=scratch.classes,
        subject=None,
    ),
)

REPORT = Contents(
    parts={
        "A": (
            "The tour",
            "What one text-to-image model can do, from a single word to several meanings at once.",
        ),
        "B": ("From scratch", "How such a model comes to be: small networks trained on handwritten digits."),
    },
    chapters=_REPORT,
)

DEMO = Contents(
    parts={
        "A": (
            "Pictures by prompt",
            "None is picked, but of the anagrams and hybrids: of those the classifier of the package keeps "
            "the best, and their pairs are some of those that work, of twenty that were tried.",
        ),
        "B": ("Digits", "The same techniques with a model of 28 x 28 pixels that knows the ten digits."),
    },
    chapters=(
        Chapter(
            id="prompts",
            label="A1",
            title="Words into pictures",
            see="One prompt, several seeds: other noise, read under the same words.",
            make=words.prompts,
            formula="0",
        ),
        REPORT.chapter("6", label="A2"),
        REPORT.chapter("7", label="A3"),
        REPORT.chapter("8", label="A4"),
        REPORT.chapter("9", label="A5"),
        Chapter(
            id="digits-0",
            label="B1",
            title="Every digit",
            see="A prompt is a class here. No two pictures share a style of writing.",
            make=words.prompts,
            formula="0",
            subject="digits",
        ),
        REPORT.chapter("8", id="digits-8", label="B2", subject="digits"),
        REPORT.chapter("9", id="digits-9", label="B3", subject="digits"),
        REPORT.chapter("7", id="digits-7", label="B4", subject="digits"),
        REPORT.chapter("4", id="digits-4", label="B5", subject="denoiser"),
    ),
)

"""The tab Illusions: anagrams and hybrids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw
from torch import Tensor

from sfumato.apps.studio.backend import Backend, SamplingSettings, Update, shown
from sfumato.apps.studio.components import LIGHT, PICKER, STILL, Wiring, example, quick, result_panel
from sfumato.apps.studio.images import PAD
from sfumato.core.views import VIEWS, make_view
from sfumato.errors import UsageError
from sfumato.pictures import read_picture, to_image
from sfumato.pictures.grid import enlarge_pixels
from sfumato.pictures.turning import from_afar, turned
from sfumato.serving import Part
from sfumato.techniques import anagram, hybrid

PICKED = [name for name in VIEWS if name not in ("identity", "pixel_permute")]
DEMONSTRATION = 96  # pixels of the picture that shows what the views do


def illusions(backend: Backend, wiring: Wiring) -> None:
    """Anagrams and hybrids."""
    with gr.Tabs():
        with gr.Tab("Turn it", id="anagram"):
            _anagrams(backend, wiring)
        with gr.Tab("Near and far", id="hybrid"):
            _hybrids(backend, wiring)


def _anagrams(backend: Backend, wiring: Wiring) -> None:
    names = backend.worker.names
    with gr.Row():
        narrow: dict[str, Any] = {"min_width": 160, "max_lines": 2}
        one, two = example(names, ("6", "9"), ("a pig face", "a strawberry"))
        first = gr.Textbox(one, label="Upright", elem_id="anagram-first", **narrow)
        second = gr.Textbox(two, label="Through the view", elem_id="anagram-second", **narrow)
        third = gr.Textbox("", label="Through a second view (optional)", **narrow)
    with gr.Row():
        view = gr.Dropdown(PICKED, value="rotate_180", label="View", elem_id="anagram-view", min_width=160)
        other = gr.Dropdown(PICKED, value="flip", label="Second view", min_width=160)
    with gr.Accordion("What the views do: pick one", open=True):
        picker = gr.Gallery(value=_demonstrations(), columns=6, elem_id="anagram-picker", **PICKER)
    panel = result_panel("anagram", "Make anagrams")
    group, turn, result = _slider("anagram", "Turn it", 0, 1)

    def make_parts(settings: SamplingSettings, values: list[Any]) -> Sequence[Part]:
        one, two, three, through, through_other = values
        readings = [text for text in (one, two, three) if text and text.strip()]
        if len(readings) < 2 or not (one and two):
            raise UsageError("an anagram needs two prompts at least")
        views = [through, through_other][: len(readings) - 1]
        return [backend.part(settings, anagram(*readings, view=views))]

    def done(update: Update, request: gr.Request) -> Sequence[Any]:  # noqa: ARG001
        x = update.made[0].x
        return [gr.update(visible=True), gr.update(value=0), shown(x), x]

    latest = gr.State(None)
    inputs = [first, second, third, view, other]
    wiring.make(
        [panel.go.click, second.submit],
        panel,
        make_parts,
        inputs,
        then=done,
        outputs=[group, turn, result, latest],
    )

    @quick
    def pick(event: gr.SelectData) -> Any:
        return PICKED[event.index]

    @quick
    def look(share: float, x: Tensor | None, name: str) -> Any:
        return (
            gr.skip()
            if x is None
            else to_image(turned(x, make_view(name), share, enlarge=max(1, PAD // x.shape[-1])))
        )

    @quick
    def choose(event: gr.SelectData, request: gr.Request) -> Any:
        history = backend.visitor(request.session_hash).history
        return (
            (0, shown(history[event.index].x), history[event.index].x)
            if event.index < len(history)
            else gr.skip()
        )

    picker.select(pick, outputs=view, **LIGHT)
    panel.gallery.select(choose, outputs=[turn, result, latest], **LIGHT)
    gr.on([turn.input, turn.change], look, [turn, latest, view], result, trigger_mode="always_last", **LIGHT)


def _hybrids(backend: Backend, wiring: Wiring) -> None:
    names = backend.worker.names
    with gr.Row():
        far = gr.Textbox(
            example(names, "3", "a bear"), label="From afar", elem_id="hybrid-far", min_width=160
        )
        near = gr.Textbox(
            example(names, "8", "a cookie"), label="From near", elem_id="hybrid-near", min_width=160
        )
    label = "Blur between them (less shows more of what is far)"
    sigma = gr.Slider(0.5, 6, value=example(names, 2, 3), step=0.1, label=label)
    panel = result_panel("hybrid", "Make hybrids")
    group, distance, result = _slider("hybrid", "Step back", 1, 8)
    latest = gr.State(None)

    def make_parts(settings: SamplingSettings, values: list[Any]) -> Sequence[Part]:
        one, two, width = values
        if not (one and one.strip() and two and two.strip()):
            raise UsageError("a hybrid needs a prompt for afar and one for near")
        return [backend.part(settings, hybrid(far=one, near=two, sigma=float(width)))]

    def done(update: Update, request: gr.Request) -> Sequence[Any]:  # noqa: ARG001
        x = update.made[0].x
        return [gr.update(visible=True), gr.update(value=1), shown(x), x]

    wiring.make(
        [panel.go.click],
        panel,
        make_parts,
        [far, near, sigma],
        then=done,
        outputs=[group, distance, result, latest],
    )

    @quick
    def look(times: float, x: Tensor | None) -> Any:
        return gr.skip() if x is None else to_image(from_afar(_large(x), times))

    gr.on(
        [distance.input, distance.change],
        look,
        [distance, latest],
        result,
        trigger_mode="always_last",
        **LIGHT,
    )


def _slider(name: str, label: str, low: float, high: float) -> tuple[gr.Group, gr.Slider, gr.Image]:
    with gr.Group(visible=False) as group:
        slider = gr.Slider(low, high, value=low, step=0.01, label=label, elem_id=f"{name}-slider", buttons=[])
        result = gr.Image(label="Move the slider", height=340, elem_id=f"{name}-result", **STILL)
    return group, slider, result


def _large(x: Tensor) -> Tensor:
    """A picture of at least PAD pixels."""
    return enlarge_pixels(x, max(1, PAD // x.shape[-1]))


@lru_cache(maxsize=1)
def _demonstrations() -> list[tuple[Image.Image, str]]:
    """A picture through every view."""
    plain = _letter()
    return [(to_image(make_view(name).forward(plain)[0]), name) for name in PICKED]


def _letter() -> Tensor:
    """A picture that looks otherwise through every view: a letter on two colours."""
    side = DEMONSTRATION
    image = Image.new("RGB", (side, side), "#c7d2fe")
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, side), (side, side), (side, 0)], fill="#fde68a")
    ink = "#312e81"
    draw.rectangle([28, 16, 42, 80], fill=ink)
    draw.rectangle([28, 16, 70, 30], fill=ink)
    draw.rectangle([28, 42, 60, 54], fill=ink)
    draw.ellipse([66, 64, 86, 84], fill="#dc2626")
    return read_picture(image, channels=3)

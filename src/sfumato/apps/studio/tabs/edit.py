"""The tab Edit: a drawing or a picture translated, a part of a picture inpainted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from sfumato.apps.studio.backend import Backend, SamplingSettings, shown
from sfumato.apps.studio.components import LIGHT, STILL, Wiring, example, expression_of, quick, result_panel
from sfumato.apps.studio.images import PAD, drawing, masked
from sfumato.core.filters import Mask
from sfumato.errors import UsageError
from sfumato.serving import Part
from sfumato.techniques import inpaint, translate

# Of drawing pads
EDITOR: dict[str, Any] = {
    "type": "pil",
    "image_mode": "RGBA",
    "format": "png",
    "canvas_size": (PAD, PAD),
    "height": 460,
    "sources": ["upload", "clipboard"],
    "transforms": [],
    "layers": False,
}


def edit(backend: Backend, wiring: Wiring) -> list[tuple[gr.ImageEditor, bool]]:
    """Doodles and pictures translated, parts inpainted. Returns the pads, and whether each starts blank."""
    with gr.Tabs():
        with gr.Tab("Doodle", id="doodle"):
            doodle = _doodle(backend, wiring)
        with gr.Tab("Inpaint", id="inpaint"):
            picture = _inpaint(backend, wiring)
    return [(doodle, True), (picture, False)]


def _doodle(backend: Backend, wiring: Wiring) -> gr.ImageEditor:
    names = backend.worker.names
    with gr.Row():
        with gr.Column(min_width=340):
            pad = gr.ImageEditor(
                label="Draw, or upload a picture",
                fixed_canvas=True,
                brush=gr.Brush(
                    default_size=22,
                    colors=["#ffffff", "#111827", "#dc2626", "#f59e0b", "#16a34a", "#2563eb", "#78350f"],
                    default_color="#ffffff" if example(names, "d", "w") == "d" else "#dc2626",
                ),
                elem_id="doodle-pad",
                **EDITOR,
            )
        with gr.Column(min_width=280):
            text = gr.Textbox(
                example(names, "3", "a red apple"), label="What it becomes", elem_id="doodle-prompt"
            )
            strength = gr.Slider(0.05, 1, value=0.7, step=0.05, label="Strength: how much is forgotten")
            panel = result_panel("doodle", "Translate", columns=2)

    def make_parts(settings: SamplingSettings, values: list[Any]) -> Sequence[Part]:
        drawn, words, share = values
        x = drawing(drawn, backend.model(settings.model))
        return [backend.part(settings, translate(x, expression_of(words), strength=float(share)))]

    wiring.make([panel.go.click, text.submit], panel, make_parts, [pad, text, strength])
    return pad


def _inpaint(backend: Backend, wiring: Wiring) -> gr.ImageEditor:
    names = backend.worker.names
    with gr.Row():
        with gr.Column(min_width=340):
            pad = gr.ImageEditor(
                label="Paint over what is to be made anew",
                brush=gr.Brush(default_size=40, colors=["#e11d48"], color_mode="fixed"),
                elem_id="inpaint-pad",
                **EDITOR,
            )
            take = gr.Button("Take the latest picture", elem_id="inpaint-take")
        with gr.Column(min_width=280):
            text = gr.Textbox(
                example(names, "8", "a green apple"), label="What it belongs to", elem_id="inpaint-prompt"
            )
            with gr.Accordion("Upload a mask instead", open=False):
                mask = gr.Image(
                    label="Mask, of the picture's size", type="pil", image_mode=None, sources=["upload"]
                )
                convention = gr.Radio(
                    ["white", "alpha"],
                    value="white",
                    label="Made anew: what is white, or what is transparent",
                )
            strength = gr.Slider(0.05, 1, value=1, step=0.05, label="Strength: how much of it is forgotten")
            repeats = gr.Slider(
                1, 10, value=1, step=1, label="RePaint: passes over the same steps (better seams)"
            )
            panel = result_panel("inpaint", "Inpaint", columns=2)
            seen = gr.Image(
                label="The mask as it was understood",
                height=180,
                visible=False,
                elem_id="inpaint-mask",
                **STILL,
            )

    def make_parts(settings: SamplingSettings, values: list[Any]) -> Sequence[Part]:
        drawn, uploaded, kind, words, share, passes = values
        model = backend.model(settings.model)
        x, region = masked(drawn, uploaded, kind, model)
        jump = max(1, min(10, (settings.steps or model.defaults.steps) // 2))
        change = inpaint(
            x, Mask(region), expression_of(words), strength=float(share), repeats=int(passes), jump=jump
        )
        return [backend.part(settings, change)]

    @quick
    def resolved(drawn: Any, uploaded: Any, kind: str, name: str) -> Any:
        try:
            x, region = masked(drawn, uploaded, kind, backend.model(name))
        except UsageError:
            return gr.update(value=None, visible=False)
        return gr.update(value=shown(x[0] * (1 - region[0]) + region[0]), visible=True)

    @quick
    def latest(request: gr.Request) -> Any:
        history = backend.visitor(request.session_hash).history
        if not history:
            raise UsageError("there is no picture yet: make one, or upload one here")
        image = shown(history[0].x).convert("RGBA").resize((PAD, PAD), Image.Resampling.NEAREST)
        return {"background": image, "layers": [], "composite": image}

    inputs = [pad, mask, convention, text, strength, repeats]
    wiring.make([panel.go.click, text.submit], panel, make_parts, inputs)
    which = [pad, mask, convention, wiring.controls.model]
    panel.go.click(resolved, which, seen, **LIGHT)
    gr.on([mask.change, convention.change, pad.apply], resolved, which, seen, **LIGHT)
    take.click(latest, outputs=pad, **LIGHT)
    return pad

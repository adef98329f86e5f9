"""The tab Edit: a drawing or a picture translated, a part of a picture inpainted."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from sfumato.apps.studio.backend import SamplingSettings, shown
from sfumato.apps.studio.components import LIGHT, STILL, Wiring, expression_of, quick, result_panel
from sfumato.apps.studio.images import PAD, drawing, masked, pad_with
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


def edit(wiring: Wiring) -> gr.ImageEditor:
    """Doodles and pictures translated, parts inpainted. Returns the pad that starts blank."""
    with gr.Tabs():
        with gr.Tab("Doodle", id="doodle"):
            pad = _doodle(wiring)
        with gr.Tab("Inpaint", id="inpaint"):
            _inpaint(wiring)
    return pad


def _doodle(wiring: Wiring) -> gr.ImageEditor:
    backend = wiring.backend
    with gr.Row():
        with gr.Column(min_width=340):
            brush = gr.Brush(
                default_size=22,
                colors=["#ffffff", "#111827", "#dc2626", "#f59e0b", "#16a34a", "#2563eb", "#78350f"],
                default_color=wiring.example("#ffffff", "#dc2626"),
            )
            label = "Draw, or upload a picture"
            pad = gr.ImageEditor(label=label, fixed_canvas=True, brush=brush, elem_id="doodle-pad", **EDITOR)
        with gr.Column(min_width=280):
            text = wiring.prompt("doodle-prompt", "What it becomes", "3", "a red apple")
            strength = gr.Slider(0.05, 1, value=0.7, step=0.05, label="Strength: how much is forgotten")
            panel = result_panel("doodle", "Translate", columns=2)

    def make_parts(settings: SamplingSettings, drawn: Any, words: str, strength: float) -> Sequence[Part]:
        x = drawing(drawn, backend.model(settings.model))
        return [backend.part(settings, translate(x, expression_of(words), strength=float(strength)))]

    wiring.make(panel, make_parts, [pad, text, strength], submit=text)
    return pad


def _inpaint(wiring: Wiring) -> None:
    backend = wiring.backend
    with gr.Row():
        with gr.Column(min_width=340):
            brush = gr.Brush(default_size=40, colors=["#e11d48"], color_mode="fixed")
            label = "Paint over what is to be made anew"
            pad = gr.ImageEditor(label=label, brush=brush, elem_id="inpaint-pad", **EDITOR)
            take = gr.Button("Take the latest picture", elem_id="inpaint-take")
        with gr.Column(min_width=280):
            text = wiring.prompt("inpaint-prompt", "What it belongs to", "8", "a green apple")
            with gr.Accordion("Upload a mask instead", open=False):
                label = "Mask, of the picture's size"
                mask = gr.Image(label=label, type="pil", image_mode=None, sources=["upload"])
                label = "Made anew: what is white, or what is transparent"
                convention = gr.Radio(["white", "alpha"], value="white", label=label)
            strength = gr.Slider(0.05, 1, value=1, step=0.05, label="Strength: how much of it is forgotten")
            label = "RePaint: passes over the same steps (better seams)"
            repeats = gr.Slider(1, 10, value=1, step=1, label=label)
            panel = result_panel("inpaint", "Inpaint", columns=2)
            label = "The mask as it was understood"
            understood = gr.Image(label=label, height=180, visible=False, elem_id="inpaint-mask", **STILL)

    def make_parts(settings: SamplingSettings, *values: Any) -> Sequence[Part]:
        drawn, uploaded, kind, words, strength, repeats = values
        model = backend.model(settings.model)
        x, region = masked(drawn, uploaded, kind, model)
        jump = max(1, min(10, (settings.steps or model.defaults.steps) // 2))
        what, share = expression_of(words), float(strength)
        change = inpaint(x, Mask(region), what, strength=share, repeats=int(repeats), jump=jump)
        return [backend.part(settings, change)]

    @quick
    def show_mask(drawn: Any, uploaded: Any, kind: Any, name: str) -> Any:
        try:
            x, region = masked(drawn, uploaded, kind, backend.model(name))
        except UsageError:
            return gr.update(value=None, visible=False)
        return gr.update(value=shown(x[0] * (1 - region[0]) + region[0]), visible=True)

    @quick
    def latest(request: gr.Request) -> Any:
        made = wiring.made(request)
        if not made:
            raise UsageError("there is no picture yet: make one, or upload one here")
        return pad_with(shown(made[0].x).convert("RGBA").resize((PAD, PAD), Image.Resampling.NEAREST))

    painted = [pad, mask, convention]
    wiring.make(panel, make_parts, [*painted, text, strength, repeats], submit=text)
    changed = [panel.go.click, mask.change, convention.change, pad.apply]
    gr.on(changed, show_mask, [*painted, wiring.controls.model], understood, **LIGHT)
    take.click(latest, outputs=pad, **LIGHT)

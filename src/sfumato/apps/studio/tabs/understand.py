"""The tab Understand: how noise is taken away, and what guidance does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from PIL.Image import Image
from torch import Tensor

from sfumato.apps.studio.backend import SamplingSettings, Update, shown
from sfumato.apps.studio.components import STILL, Wiring, expression_of, result_panel
from sfumato.apps.studio.images import read_image
from sfumato.core.expression import prompt
from sfumato.errors import UsageError
from sfumato.serving import Part, Stepped
from sfumato.techniques import translate

SWEEP = (1.0, 1.5, 3.0, 6.0, 12.0)  # guidance scales
_PAIR: dict[str, Any] = {**STILL, "height": 300, "min_width": 140}


def understand(wiring: Wiring) -> None:
    """Noise on a picture, and how it is taken away: in one step, in many, under more and more guidance."""
    backend = wiring.backend
    gr.Markdown("A picture is noised up to a level and denoised again, by the seed above.")
    with gr.Row():
        with gr.Column(min_width=260):
            picture = gr.Image(
                label="Picture (the latest one if empty)",
                type="pil",
                sources=["upload", "clipboard"],
                height=260,
                elem_id="understand-picture",
            )
        with gr.Column(min_width=260):
            text = wiring.prompt("understand-prompt", "What it shows", "7", "a red apple")
            level = gr.Slider(0.05, 1, value=0.6, step=0.05, label="Noise level", elem_id="understand-level")
    panel = result_panel("understand", "Noise and denoise")
    with gr.Group(visible=False) as group:
        step = gr.Slider(1, 20, value=1, step=1, label="Step", elem_id="understand-step", buttons=[])
        with gr.Row():
            state = gr.Image(label="x_t: what the network sees", **_PAIR)
            estimate = gr.Image(label="x0: what it believes is under the noise", **_PAIR)
    gr.Markdown("#### Guidance: the same noise, pushed further and further towards the prompt")
    sweep = result_panel("sweep", "Sweep the guidance", columns=5)

    def start(settings: SamplingSettings, given: Image | None) -> Tensor:
        model = backend.model(settings.model)
        if given is not None:
            return read_image(given, model)
        history = backend.visitor(settings.session).history
        fitting = [entry.x for entry in history if entry.x.shape == model.shape]
        if not fitting:
            raise UsageError("upload a picture, or make one in Generate first")
        return fitting[0]

    def study(settings: SamplingSettings, given: Image | None, words: str, level: float) -> Sequence[Part]:
        change = translate(start(settings, given), expression_of(words), strength=float(level))
        return [backend.part(replace(settings, steps=settings.steps or 20), change, larger=False)]

    def four(update: Update) -> list[tuple[Any, str]]:
        first, entry = update.steps[0], update.made[0]
        noisy, denoised = _pair(first)
        return [
            (shown(backend.start_of(entry.recipe)), "the picture"),
            (noisy, f"noised, t = {first.t:.2f}"),
            (denoised, "in one step"),
            (str(entry.path), f"in {len(update.steps)} steps"),
        ]

    def show_steps(update: Update, request: gr.Request) -> Sequence[Any]:
        steps = backend.visitor(request.session_hash).steps = list(update.steps)
        return [gr.update(visible=True), gr.update(maximum=len(steps), value=1), *_pair(steps[0])]

    inputs, outputs = [picture, text, level], [group, step, state, estimate]
    wiring.make(panel, study, inputs, count=1, final=four, then=show_steps, outputs=outputs)

    def sweep_parts(settings: SamplingSettings, words: str) -> Sequence[Part]:
        if not (words and words.strip()):
            raise UsageError("guidance needs a prompt")
        return [backend.part(replace(settings, guidance=scale), prompt(words)) for scale in SWEEP]

    def captions(update: Update) -> list[tuple[Any, str]]:
        pictures = zip(update.made, SWEEP, strict=True)
        return [(str(entry.path), f"guidance {scale:g}") for entry, scale in pictures]

    wiring.make(sweep, sweep_parts, [text], count=1, final=captions)

    def look(index: float, request: gr.Request) -> Any:
        steps = backend.visitor(request.session_hash).steps
        return _pair(steps[int(index) - 1]) if 1 <= index <= len(steps) else (gr.skip(), gr.skip())

    wiring.slide(step, look, [], [state, estimate])


def _pair(step: Stepped) -> tuple[Any, Any]:
    """The state and the estimate of a step, for the page."""
    assert step.x is not None
    assert step.x0 is not None
    return shown(step.x), shown(step.x0)

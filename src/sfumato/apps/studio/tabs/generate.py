"""The tab Generate: pictures of a prompt."""

from collections.abc import Sequence
from dataclasses import replace

import gradio as gr

from sfumato.apps.studio.backend import SamplingSettings
from sfumato.apps.studio.components import Wiring, expression_of, result_panel
from sfumato.errors import UsageError
from sfumato.serving import Part


def generate(wiring: Wiring) -> None:
    """Pictures of a prompt."""
    backend = wiring.backend
    text = wiring.prompt("generate-prompt", "Prompt", "7", "a red apple", max_lines=3, autofocus=True)
    negative = gr.Textbox("", label="Not (optional)", max_lines=2, elem_id="generate-negative")
    panel = result_panel("generate", "Make pictures")

    def make_parts(settings: SamplingSettings, words: str, against: str) -> Sequence[Part]:
        e = expression_of(words)
        if not against or not against.strip():
            return [backend.part(settings, e)]
        defaults = backend.model(settings.model).defaults
        scale = settings.guidance or defaults.guidance
        if scale == 1:
            raise UsageError("a negative prompt needs guidance: set it above 1 in the settings")
        guided = e.guided(scale, negative=against, between=defaults.guidance_between)
        return [backend.part(replace(settings, guidance=None), guided)]

    wiring.make(panel, make_parts, [text, negative], submit=text)

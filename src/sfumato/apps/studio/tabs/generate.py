"""The tab Generate: pictures of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from sfumato.apps.studio.backend import Backend, SamplingSettings
from sfumato.apps.studio.components import Wiring, example, expression_of, result_panel
from sfumato.core.expression import Expression
from sfumato.errors import UsageError
from sfumato.serving import Part


def generate(backend: Backend, wiring: Wiring) -> None:
    """Pictures of a prompt."""
    names = backend.worker.names
    text = gr.Textbox(
        example(names, "7", "a red apple"),
        label="Prompt",
        elem_id="generate-prompt",
        max_lines=3,
        autofocus=True,
    )
    negative = gr.Textbox("", label="Not (optional)", max_lines=2, elem_id="generate-negative")
    panel = result_panel("generate", "Make pictures")

    def make_parts(settings: SamplingSettings, values: list[Any]) -> Sequence[Part]:
        words, against = values
        return [backend.part(*_guided(backend, settings, expression_of(words), against))]

    wiring.make([panel.go.click, text.submit], panel, make_parts, [text, negative])


def _guided(
    backend: Backend, settings: SamplingSettings, e: Expression, against: str | None
) -> tuple[SamplingSettings, Expression]:
    """The expression with its negative prompt, which takes the guidance of the settings along."""
    if not against or not against.strip():
        return settings, e
    scale = settings.guidance or backend.model(settings.model).defaults.guidance
    if scale == 1:
        raise UsageError("a negative prompt needs guidance: set it above 1 in the settings")
    return replace(settings, guidance=None), e.guided(scale, negative=against)

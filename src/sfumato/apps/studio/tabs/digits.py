"""The tab Digits: rows of digits of a model that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from sfumato.apps.studio.backend import Backend, SamplingSettings
from sfumato.apps.studio.components import Wiring, result_panel
from sfumato.core.expression import prompt
from sfumato.errors import UsageError
from sfumato.serving import Part


def digits(backend: Backend, wiring: Wiring) -> None:
    """Rows of digits of a model that knows them."""
    wanted = gr.CheckboxGroup(
        list("0123456789"), value=list("0123456789"), label="Digits", elem_id="digits-wanted"
    )
    each = gr.Slider(1, 6, value=2, step=1, label="Of each")
    panel = result_panel("digits", "Write digits", columns=6)

    def make_parts(settings: SamplingSettings, values: list[Any]) -> Sequence[Part]:
        chosen, several = values
        if not chosen:
            raise UsageError("choose a digit")
        name = settings.model if backend.model(settings.model).class_names else _digits_model(backend)
        rows = replace(settings, model=name, count=int(several))
        return [backend.part(rows, prompt(digit)) for digit in sorted(chosen)]

    wiring.make([panel.go.click], panel, make_parts, [wanted, each])


def _digits_model(backend: Backend) -> str:
    for name, model in backend.worker.models.items():
        if set("0123456789") <= set(model.class_names):
            return name
    raise UsageError("no model of digits is loaded here: start with --model digits")

"""The tab Digits: rows of digits of a model that knows them."""

from collections.abc import Sequence
from dataclasses import replace

import gradio as gr

from sfumato.apps.studio.backend import SamplingSettings
from sfumato.apps.studio.components import Wiring, result_panel
from sfumato.core.expression import prompt
from sfumato.errors import UsageError
from sfumato.serving import Part


def digits(wiring: Wiring) -> None:
    """Rows of digits of a model that knows them."""
    all_digits = list("0123456789")
    wanted = gr.CheckboxGroup(all_digits, value=all_digits, label="Digits", elem_id="digits-wanted")
    each = gr.Slider(1, 6, value=2, step=1, label="Of each")
    panel = result_panel("digits", "Write digits", columns=6)

    def make_parts(settings: SamplingSettings, chosen: list[str], each: float) -> Sequence[Part]:
        if not chosen:
            raise UsageError("choose a digit")
        backend, name = wiring.backend, settings.model
        if not backend.model(name).class_names:
            models = backend.worker.models.items()
            knowing = [name for name, model in models if set(all_digits) <= set(model.class_names)]
            if not knowing:
                raise UsageError("no model of digits is loaded here: start with --model digits")
            name = knowing[0]
        rows = replace(settings, model=name, count=int(each))
        return [backend.part(rows, prompt(digit)) for digit in sorted(chosen)]

    wiring.make(panel, make_parts, [wanted, each])

"""What the tabs of the page share: settings, a panel for results, and how a click becomes pictures."""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import gradio as gr

from sfumato.apps.studio.backend import Backend, MadePicture, SamplingSettings, Update, status_html
from sfumato.core.expression import Expression, prompt, unconditional
from sfumato.core.solvers import SOLVERS
from sfumato.errors import SfumatoError, UsageError
from sfumato.serving import Part

log = logging.getLogger("sfumato.studio")
OWN = "the model's own"
MAX_SEED = 2**53 - 1  # what a number in a browser holds exactly
# Of all handlers: gradio shows no progress of its own, and none is part of the page's API.
HANDLER: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
LIGHT: dict[str, Any] = {**HANDLER, "queue": False}  # of those that answer at once
# Of galleries without a label whose pictures keep their shape, and of pictures that a visitor only looks at.
GALLERY: dict[str, Any] = {"show_label": False, "height": "auto", "object_fit": "contain", "format": "png"}
PICKER: dict[str, Any] = {**GALLERY, "allow_preview": False, "interactive": False, "buttons": []}
STILL: dict[str, Any] = {"interactive": False, "format": "png", "elem_classes": "pixels", "buttons": []}

T = TypeVar("T")


def expression_of(text: str | None) -> Expression:
    """The prompt of a text field; without text the unconditional expression."""
    return prompt(text) if text and text.strip() else unconditional()


class Controls(NamedTuple):
    """The components of the settings, in the order in which `read_settings` takes their values."""

    model: gr.Dropdown
    seed: gr.Number
    new_seed: gr.Checkbox
    pictures: gr.Slider
    steps: gr.Slider
    guidance: gr.Slider
    solver: gr.Dropdown


def make_controls(backend: Backend) -> Controls:
    """The settings of all tabs."""
    names = list(backend.worker.names)
    with gr.Row(equal_height=True):
        model = gr.Dropdown(names, value=names[0], label="Model", scale=2, min_width=140)
        seed = gr.Number(7, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, scale=2, min_width=120)
        new_seed = gr.Checkbox(True, label="New seed each time", scale=2, min_width=220, elem_id="anew")
        count = gr.Slider(1, 9, value=4, step=1, label="Pictures", scale=3, min_width=160)
    with gr.Accordion("More settings", open=False), gr.Row():
        steps = gr.Slider(0, 100, value=0, step=1, label=f"Steps (0: {OWN})", min_width=160)
        guidance = gr.Slider(0, 15, value=0, step=0.1, label=f"Guidance (0: {OWN}, 1: off)", min_width=160)
        solver = gr.Dropdown([OWN, *SOLVERS], value=OWN, label="Solver", min_width=160)
    return Controls(model, seed, new_seed, count, steps, guidance, solver)


def read_settings(
    values: Sequence[Any], session: str | None, *, count: int | None = None
) -> SamplingSettings:
    """The settings from the values of the controls, with a new seed where the visitor wants one."""
    model, seed, new_seed, several, steps, guidance, solver = values
    if not new_seed and seed is None:
        raise UsageError("Seed is empty: give one, or check New seed each time")
    return SamplingSettings(
        session=session,
        model=model,
        seed=secrets.randbelow(2**32) if new_seed else int(seed),
        count=int(several) if count is None else count,
        steps=int(steps) or None,
        guidance=float(guidance) or None,
        solver=None if solver == OWN else solver,
    )


class ResultPanel(NamedTuple):
    """The buttons of a tab, its progress and its pictures."""

    go: gr.Button
    stop: gr.Button
    status: gr.HTML
    gallery: gr.Gallery


def result_panel(name: str, action: str, *, columns: int = 4) -> ResultPanel:
    """Buttons, progress, and a gallery that shows once it has pictures; `name` begins the ids."""
    with gr.Row():
        go = gr.Button(action, variant="primary", elem_id=f"{name}-go", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="secondary", elem_id=f"{name}-stop", scale=1, min_width=80)
    status = gr.HTML(elem_id=f"{name}-status", container=False)
    gallery = gr.Gallery(
        label="Pictures",
        columns=columns,
        visible=False,
        elem_id=f"{name}-gallery",
        elem_classes="pixels",
        interactive=False,
        buttons=["download", "fullscreen"],
        **GALLERY,
    )
    return ResultPanel(go, stop, status, gallery)


# Makes the parts of a request from the settings and the values of a tab's own inputs.
MakeParts = Callable[..., Sequence[Part]]


class Wiring:
    """Connects the components of the tabs with the backend."""

    def __init__(self, backend: Backend, controls: Controls, history: gr.Gallery) -> None:
        self.backend, self.controls, self.history = backend, controls, history

    def example(self, digits: T, words: T) -> T:
        """The first value of a field: that for digits where only digits models are there."""
        return words if any("digit" not in name for name in self.backend.worker.names) else digits

    def prompt(self, name: str, label: str, digits: str, words: str, **more: Any) -> gr.Textbox:
        """A field for a prompt, with an example in it; `name` is its id."""
        return gr.Textbox(self.example(digits, words), label=label, elem_id=name, **more)

    def make(
        self,
        panel: ResultPanel,
        make_parts: MakeParts,
        inputs: Sequence[gr.components.Component],
        *,
        submit: gr.Textbox | None = None,
        count: int | None = None,
        final: Callable[[Update], list[tuple[Any, str]]] | None = None,
        then: Callable[[Update, gr.Request], Sequence[Any]] | None = None,
        outputs: Sequence[gr.blocks.Block] = (),
    ) -> None:
        """Let the button of a panel, and Enter in `submit`, make the pictures of `make_parts`.

        When they are done, the gallery shows what `final` returns, by default the pictures, and `then` fills
        `outputs`.
        """

        def run(request: gr.Request, *values: Any) -> Iterator[Any]:
            idle = [gr.skip()] * len(outputs)
            given, own = values[: len(self.controls)], values[len(self.controls) :]
            try:
                settings = read_settings(given, request.session_hash, count=count)
                parts = make_parts(settings, *own)
                for update in self.backend.make(request.session_hash, parts):
                    more = list(then(update, request)) if then is not None and update.made else idle
                    pictures = final(update) if final and update.made else list(update.pictures)
                    shown = gr.update(value=pictures, visible=True) if pictures else gr.skip()
                    made = [entry.captioned for entry in self.made(request)]
                    history = made if update.made else gr.skip()
                    yield [shown, update.status, settings.seed, history, *more]
            except Exception as error:
                yield [gr.skip(), status_html(_message(error), wrong=True), gr.skip(), gr.skip(), *idle]

        gr.on(
            [panel.go.click] if submit is None else [panel.go.click, submit.submit],
            run,
            inputs=[*self.controls, *inputs],
            outputs=[panel.gallery, panel.status, self.controls.seed, self.history, *outputs],
            **HANDLER,
        )
        panel.stop.click(self.stop, **LIGHT)

    def slide(
        self,
        slider: gr.Slider,
        look: Callable[..., Any],
        inputs: Sequence[gr.blocks.Block],
        outputs: Sequence[gr.blocks.Block],
    ) -> None:
        """Show what `look` returns for the place of a slider and the values of `inputs`."""
        moved = [slider.input, slider.change]
        gr.on(moved, quick(look), [slider, *inputs], outputs, trigger_mode="always_last", **LIGHT)

    def made(self, request: gr.Request) -> list[MadePicture]:
        """The history of the visitor, the newest picture first."""
        return self.backend.visitor(request.session_hash).history

    def stop(self, request: gr.Request) -> None:
        self.backend.stop(request.session_hash)


def quick(function: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose errors become a short notice on the page."""

    @wraps(function)  # its annotations are what gradio reads
    def handler(*values: Any, **more: Any) -> Any:
        try:
            return function(*values, **more)
        except SfumatoError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return handler


def _message(error: Exception) -> str:
    """What a visitor reads of an error: sfumato's own message; any other error goes to the log alone."""
    if isinstance(error, SfumatoError):
        return str(error)
    log.error("a request of the studio failed", exc_info=error)
    return "this failed inside: see the log of the studio"

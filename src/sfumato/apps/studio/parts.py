"""What the tabs of the page share: settings, a place for results, and how a click becomes pictures."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, get_type_hints

import gradio as gr

from sfumato.apps.studio.desk import Desk, Entry, Update, Wishes, failure, told
from sfumato.core.solvers import SOLVERS
from sfumato.errors import SfumatoError, UsageError
from sfumato.serving import Part

log = logging.getLogger("sfumato.studio")
OWN = "the model's own"
MAX_SEED = 2**53 - 1  # what a number in a browser holds exactly


@dataclass(frozen=True)
class Controls:
    """The settings, in the order in which they are read."""

    model: gr.Dropdown
    seed: gr.Number
    anew: gr.Checkbox
    count: gr.Slider
    steps: gr.Slider
    guidance: gr.Slider
    solver: gr.Dropdown

    @property
    def all(self) -> list[gr.components.Component]:
        """All of them."""
        return [self.model, self.seed, self.anew, self.count, self.steps, self.guidance, self.solver]


def controls(desk: Desk) -> Controls:
    """The settings of all tabs."""
    names = list(desk.worker.names)
    with gr.Row(equal_height=True):
        model = gr.Dropdown(names, value=names[0], label="Model", scale=2, min_width=140)
        seed = gr.Number(7, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, scale=2, min_width=120)
        anew = gr.Checkbox(True, label="New seed each time", scale=2, min_width=220, elem_id="anew")
        count = gr.Slider(1, 9, value=4, step=1, label="Pictures", scale=3, min_width=160)
    with gr.Accordion("More settings", open=False), gr.Row():
        steps = gr.Slider(0, 100, value=0, step=1, label=f"Steps (0: {OWN})", min_width=160)
        guidance = gr.Slider(0, 15, value=0, step=0.1, label=f"Guidance (0: {OWN}, 1: off)", min_width=160)
        solver = gr.Dropdown([OWN, *SOLVERS], value=OWN, label="Solver", min_width=160)
    return Controls(model, seed, anew, count, steps, guidance, solver)


def wishes(values: Sequence[Any], session: str | None, *, count: int | None = None) -> Wishes:
    """What the settings say, with a seed drawn where one is to be."""
    model, seed, anew, several, steps, guidance, solver = values
    if not anew and seed is None:
        raise UsageError("give a seed, or have one drawn")
    return Wishes(
        session=session,
        model=model,
        seed=secrets.randbelow(2**32) if anew else int(seed),
        count=int(several) if count is None else count,
        steps=int(steps) or None,
        guidance=float(guidance) or None,
        solver=None if solver == OWN else solver,
    )


@dataclass(frozen=True)
class Stage:
    """Where a tab shows what it makes."""

    go: gr.Button
    stop: gr.Button
    status: gr.HTML
    gallery: gr.Gallery


def stage(name: str, action: str, *, columns: int = 4) -> Stage:
    """Buttons, progress, and a gallery once there is something in it; `name` begins the ids."""
    with gr.Row():
        go = gr.Button(action, variant="primary", elem_id=f"{name}-go", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="secondary", elem_id=f"{name}-stop", scale=1, min_width=80)
    status = gr.HTML(elem_id=f"{name}-status", container=False)
    gallery = gr.Gallery(
        label="Pictures",
        columns=columns,
        visible=False,
        show_label=False,
        object_fit="contain",
        height="auto",
        format="png",
        elem_id=f"{name}-gallery",
        elem_classes="pixels",
        interactive=False,
        buttons=["download", "fullscreen"],
    )
    return Stage(go, stop, status, gallery)


# The parts of a request, from the values of a tab's own inputs and the wishes.
Order = Callable[[Wishes, list[Any]], Sequence[Part]]


class Wiring:
    """Connects clicks with the desk."""

    def __init__(self, desk: Desk, settings: Controls, history: gr.Gallery) -> None:
        self.desk, self.settings, self.history = desk, settings, history

    def make(
        self,
        triggers: Sequence[Any],
        stage: Stage,
        order: Order,
        inputs: Sequence[gr.components.Component] = (),
        *,
        count: int | None = None,
        final: Callable[[Update], list[tuple[Any, str]]] | None = None,
        then: Callable[[Update, gr.Request], Sequence[Any]] | None = None,
        outputs: Sequence[gr.blocks.Block] = (),
    ) -> None:
        """Have triggers make what an order says.

        When it is done, `final` says what the gallery shows instead of them, `then` fills `outputs`.
        """
        settings = self.settings.all

        def run(request: gr.Request, *values: Any) -> Iterator[Any]:
            idle = [gr.skip()] * len(outputs)
            try:
                wish = wishes(values[: len(settings)], request.session_hash, count=count)
                parts = order(wish, list(values[len(settings) :]))
                for update in self.desk.make(request.session_hash, parts):
                    more = list(then(update, request)) if then is not None and update.entries else idle
                    pictures = final(update) if final and update.entries else list(update.pictures)
                    shown = gr.update(value=pictures, visible=True) if pictures else gr.skip()
                    yield [shown, update.status, wish.seed, self.shelf(request, update.entries), *more]
            except Exception as error:
                yield [gr.skip(), failure(_said(error)), gr.skip(), gr.skip(), *idle]

        gr.on(
            list(triggers),
            run,
            inputs=[*settings, *inputs],
            outputs=[stage.gallery, stage.status, self.settings.seed, self.history, *outputs],
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
        stage.stop.click(
            self.stop, show_progress="hidden", queue=False, concurrency_limit=None, api_visibility="private"
        )

    def stop(self, request: gr.Request) -> None:
        """End what the visitor waits for."""
        self.desk.stop(request.session_hash)

    def shelf(self, request: gr.Request, new: Sequence[Entry]) -> Any:
        """The history as its gallery shows it, where something is new."""
        if not new:
            return gr.skip()
        return [(str(entry.path), entry.caption) for entry in self.desk.visitor(request.session_hash).history]


def quick(function: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose errors become a line on the page, by a toast."""

    def handler(*values: Any, **more: Any) -> Any:
        try:
            return function(*values, **more)
        except SfumatoError as error:
            raise gr.Error(str(error), print_exception=False) from None

    handler.__name__ = function.__name__
    handler.__annotations__ = get_type_hints(function)  # gradio looks for its own types
    handler.__signature__ = signature(function, eval_str=True)  # type: ignore[attr-defined]
    return handler


def _said(error: Exception) -> SfumatoError:
    if not isinstance(error, SfumatoError):
        log.error("a request of the studio failed", exc_info=error)
    return told(error)

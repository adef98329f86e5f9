"""The page: settings, tabs, and the history with the recipe of every picture."""

import json
import os
from typing import Any, NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from fastapi import FastAPI
from gradio import processing_utils

from sfumato.apps.server.settings import Settings
from sfumato.apps.studio import tabs
from sfumato.apps.studio.backend import Backend, SamplingSettings
from sfumato.apps.studio.components import LIGHT, PICKER, Wiring, make_controls, quick, result_panel
from sfumato.apps.studio.images import blank_pad
from sfumato.apps.studio.theme import CSS, FRAME, theme
from sfumato.errors import UsageError
from sfumato.pictures import read_metadata
from sfumato.recipe import parse_recipe
from sfumato.serving import Part, Worker

USER = "sfumato"  # with the API key as its password


def mount(app: FastAPI, worker: Worker, settings: Settings) -> None:
    """Put the page at / of the server."""
    # Gradio would fetch pictures that a request names by their address.
    setattr(processing_utils, "async_ssrf_protected_get", _fetch_nothing)  # noqa: B010
    gr.mount_gradio_app(
        app,
        build(Backend(worker)),
        path="/",
        auth=None if settings.api_key is None else (USER, settings.api_key),
        auth_message="The password is the API key.",
        theme=theme(),
        css=CSS,
        head=FRAME,
        footer_links=[],
        max_file_size=settings.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        show_error=True,
    )


async def _fetch_nothing(url: str) -> NoReturn:  # noqa: ARG001
    raise ValueError("no address is fetched here: upload the picture")


def build(backend: Backend) -> gr.Blocks:
    """The page of a backend."""
    page: gr.Blocks
    with gr.Blocks(title="sfumato", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML("<h1>sfumato</h1><p>Pictures out of noise, several meanings at a time.</p>", elem_id="head")
        controls = make_controls(backend)
        history = gr.Gallery(columns=10, elem_id="history", elem_classes="pixels", render=False, **PICKER)
        wiring = Wiring(backend, controls, history)
        with gr.Tabs():
            with gr.Tab("Generate", id="generate"):
                tabs.generate(wiring)
            with gr.Tab("Illusions", id="illusions"):
                tabs.illusions(wiring)
            with gr.Tab("Edit", id="edit"):
                pad = tabs.edit(wiring)
            with gr.Tab("Understand", id="understand"):
                tabs.understand(wiring)
            with gr.Tab("Digits", id="digits"):
                tabs.digits(wiring)
        with gr.Accordion("Made on this page, and how: pick a picture for its recipe", open=True):
            history.render()  # type: ignore[no-untyped-call]
            _recipes(wiring)

        def blank(name: str) -> Any:
            return blank_pad(backend, name)

        gr.on([page.load, controls.model.change], blank, controls.model, pad, **LIGHT)

        def left(request: gr.Request) -> None:
            backend.leave(request.session_hash)

        page.unload(left)
    return page


def _recipes(wiring: Wiring) -> None:
    """The recipe of a picture: shown, loaded from a file, edited, made again, downloaded."""
    with gr.Row():
        with gr.Column(scale=3, min_width=280):
            recipe = gr.Code(
                label="Recipe", language="json", lines=8, max_lines=20, wrap_lines=True, elem_id="recipe"
            )
        with gr.Column(scale=2, min_width=240):
            dropped = gr.File(
                label="Drop a picture to load its recipe",
                file_types=[".png", ".jpg", ".jpeg", ".webp"],
                height=170,
                elem_id="dropped",
            )
            download = gr.DownloadButton("Download with its recipe", interactive=False, elem_id="download")
    again = result_panel("again", "Make again")

    @quick
    def pick(event: gr.SelectData, request: gr.Request) -> Any:
        made = wiring.made(request)
        if not 0 <= event.index < len(made):
            return gr.skip(), gr.skip()
        entry = made[event.index]
        return _text(entry.recipe.plain()), gr.update(value=str(entry.path), interactive=True)

    @quick
    def load(path: str | None) -> Any:
        if path is None:
            return gr.skip()
        metadata = read_metadata(path)
        if metadata is None or not isinstance(metadata.get("recipe"), dict):
            raise UsageError("this picture carries no recipe of sfumato")
        return _text(parse_recipe(metadata["recipe"]).plain())

    def make_parts(settings: SamplingSettings, text: str) -> list[Part]:  # noqa: ARG001
        try:
            data = json.loads(text or "")
        except ValueError:
            raise UsageError("Recipe holds no recipe: pick a picture of the history, or drop one") from None
        return [wiring.backend.again(parse_recipe(data))]

    wiring.history.select(pick, outputs=[recipe, download], **LIGHT)
    dropped.change(load, dropped, recipe, **LIGHT)
    wiring.make(again, make_parts, [recipe])


def _text(recipe: dict[str, Any]) -> str:
    return json.dumps(recipe, indent=2, ensure_ascii=False)

"""The tabs: each says which recipes its inputs mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import gradio as gr
import numpy as np
from PIL import Image, ImageChops, ImageDraw
from torch import Tensor

from sfumato.apps.studio.desk import Desk, Update, Wishes, shown
from sfumato.apps.studio.parts import Wiring, quick, stage
from sfumato.core.expression import Expression, prompt, unconditional
from sfumato.core.filters import Mask
from sfumato.core.views import VIEWS, make_view
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.pictures import read_mask, read_picture, to_image
from sfumato.pictures.grid import enlarge_pixels
from sfumato.pictures.turning import from_afar, turned
from sfumato.serving import Part
from sfumato.techniques import anagram, hybrid, inpaint, translate

PAD = 320  # pixels of a drawing pad's side
PICKED = [name for name in VIEWS if name not in ("identity", "pixel_permute")]
DEMONSTRATION = 96
ROUNDING = 2  # grey levels that a browser may change
SWEEP = (1.0, 1.5, 3.0, 6.0, 12.0)

T = TypeVar("T")


def example(names: Sequence[str], digits: T, words: T) -> T:
    """What a field begins with: for digits where only a digits model is there."""
    return words if any("digit" not in name for name in names) else digits


# ---------------------------------------------------------------------------------------------- generate


def generate(desk: Desk, wiring: Wiring) -> None:
    """Pictures of a prompt."""
    names = desk.worker.names
    text = gr.Textbox(
        example(names, "7", "a red apple"),
        label="Prompt",
        elem_id="generate-prompt",
        max_lines=3,
        autofocus=True,
    )
    negative = gr.Textbox("", label="Not (optional)", max_lines=2, elem_id="generate-negative")
    here = stage("generate", "Make pictures")

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        asked, against = values
        return [desk.part(*_guided(desk, wish, _asked(asked), against))]

    wiring.make([here.go.click, text.submit], here, order, [text, negative])


def _asked(text: str | None) -> Expression:
    return prompt(text) if text and text.strip() else unconditional()


def _guided(desk: Desk, wish: Wishes, e: Expression, against: str | None) -> tuple[Wishes, Expression]:
    """The expression with its negative prompt, which takes the guidance of the wishes along."""
    if not against or not against.strip():
        return wish, e
    scale = wish.guidance or desk.model(wish.model).defaults.guidance
    if scale == 1:
        raise UsageError("a negative prompt needs guidance: set it above 1 in the settings")
    return replace(wish, guidance=None), e.guided(scale, negative=against)


# --------------------------------------------------------------------------------------------- illusions


def illusions(desk: Desk, wiring: Wiring) -> None:
    """Anagrams and hybrids."""
    with gr.Tabs():
        with gr.Tab("Turn it", id="anagram"):
            _anagrams(desk, wiring)
        with gr.Tab("Near and far", id="hybrid"):
            _hybrids(desk, wiring)


def _anagrams(desk: Desk, wiring: Wiring) -> None:
    names = desk.worker.names
    with gr.Row():
        first = gr.Textbox(
            example(names, "6", "a pig face"),
            label="Upright",
            elem_id="anagram-first",
            min_width=160,
            max_lines=2,
        )
        second = gr.Textbox(
            example(names, "9", "a strawberry"),
            label="Through the view",
            elem_id="anagram-second",
            min_width=160,
            max_lines=2,
        )
        third = gr.Textbox("", label="Through a second view (optional)", min_width=160, max_lines=2)
    with gr.Row():
        view = gr.Dropdown(PICKED, value="rotate_180", label="View", elem_id="anagram-view", min_width=160)
        other = gr.Dropdown(PICKED, value="flip", label="Second view", min_width=160)
    with gr.Accordion("What the views do: pick one", open=True):
        picker = gr.Gallery(
            value=_demonstrations(),
            show_label=False,
            columns=6,
            height="auto",
            object_fit="contain",
            allow_preview=False,
            interactive=False,
            format="png",
            elem_id="anagram-picker",
            buttons=[],
        )
    here = stage("anagram", "Make anagrams")
    group, turn, result = _slider("anagram", "Turn it", 0, 1)

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        one, two, three, through, through_other = values
        readings = [text for text in (one, two, three) if text and text.strip()]
        if len(readings) < 2 or not (one and two):
            raise UsageError("an anagram needs two prompts at least")
        views = [through, through_other][: len(readings) - 1]
        return [desk.part(wish, anagram(*readings, view=views))]

    def done(update: Update, request: gr.Request) -> Sequence[Any]:  # noqa: ARG001
        x = update.entries[0].x
        return [gr.update(visible=True), gr.update(value=0), shown(x), x]

    latest = gr.State(None)
    inputs = [first, second, third, view, other]
    wiring.make(
        [here.go.click, second.submit], here, order, inputs, then=done, outputs=[group, turn, result, latest]
    )

    @quick
    def pick(event: gr.SelectData) -> Any:
        return PICKED[event.index]

    @quick
    def look(share: float, x: Tensor | None, name: str) -> Any:
        return (
            gr.skip()
            if x is None
            else to_image(turned(x, make_view(name), share, enlarge=max(1, PAD // x.shape[-1])))
        )

    @quick
    def choose(event: gr.SelectData, request: gr.Request) -> Any:
        history = desk.visitor(request.session_hash).history
        return (
            (0, shown(history[event.index].x), history[event.index].x)
            if event.index < len(history)
            else gr.skip()
        )

    picker.select(pick, outputs=view, **_LIGHT)
    here.gallery.select(choose, outputs=[turn, result, latest], **_LIGHT)
    gr.on([turn.input, turn.change], look, [turn, latest, view], result, trigger_mode="always_last", **_LIGHT)


def _hybrids(desk: Desk, wiring: Wiring) -> None:
    names = desk.worker.names
    with gr.Row():
        far = gr.Textbox(
            example(names, "3", "a bear"), label="From afar", elem_id="hybrid-far", min_width=160
        )
        near = gr.Textbox(
            example(names, "8", "a cookie"), label="From near", elem_id="hybrid-near", min_width=160
        )
    label = "Blur between them (less shows more of what is far)"
    sigma = gr.Slider(0.5, 6, value=example(names, 2, 3), step=0.1, label=label)
    here = stage("hybrid", "Make hybrids")
    group, distance, result = _slider("hybrid", "Step back", 1, 8)
    latest = gr.State(None)

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        one, two, width = values
        if not (one and one.strip() and two and two.strip()):
            raise UsageError("a hybrid needs a prompt for afar and one for near")
        return [desk.part(wish, hybrid(far=one, near=two, sigma=float(width)))]

    def done(update: Update, request: gr.Request) -> Sequence[Any]:  # noqa: ARG001
        x = update.entries[0].x
        return [gr.update(visible=True), gr.update(value=1), shown(x), x]

    wiring.make(
        [here.go.click], here, order, [far, near, sigma], then=done, outputs=[group, distance, result, latest]
    )

    @quick
    def look(times: float, x: Tensor | None) -> Any:
        return gr.skip() if x is None else to_image(from_afar(_large(x), times))

    gr.on(
        [distance.input, distance.change],
        look,
        [distance, latest],
        result,
        trigger_mode="always_last",
        **_LIGHT,
    )


_LIGHT: dict[str, Any] = {
    "show_progress": "hidden",
    "queue": False,
    "concurrency_limit": None,
    "api_visibility": "private",
}


def _slider(name: str, label: str, low: float, high: float) -> tuple[gr.Group, gr.Slider, gr.Image]:
    with gr.Group(visible=False) as group:
        slider = gr.Slider(low, high, value=low, step=0.01, label=label, elem_id=f"{name}-slider", buttons=[])
        result = gr.Image(
            label="Move the slider",
            interactive=False,
            height=340,
            format="png",
            elem_id=f"{name}-result",
            elem_classes="pixels",
            buttons=[],
        )
    return group, slider, result


def _large(x: Tensor) -> Tensor:
    """A picture of at least PAD pixels."""
    return enlarge_pixels(x, max(1, PAD // x.shape[-1]))


@lru_cache(maxsize=1)
def _demonstrations() -> list[tuple[Image.Image, str]]:
    """A picture through every view."""
    plain = _letter()
    return [(to_image(make_view(name).forward(plain)[0]), name) for name in PICKED]


def _letter() -> Tensor:
    """A picture that looks otherwise through every view: a letter on two colours."""
    side = DEMONSTRATION
    image = Image.new("RGB", (side, side), "#c7d2fe")
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, side), (side, side), (side, 0)], fill="#fde68a")
    ink = "#312e81"
    draw.rectangle([28, 16, 42, 80], fill=ink)
    draw.rectangle([28, 16, 70, 30], fill=ink)
    draw.rectangle([28, 42, 60, 54], fill=ink)
    draw.ellipse([66, 64, 86, 84], fill="#dc2626")
    return read_picture(image, channels=3)


# -------------------------------------------------------------------------------------------------- edit


def edit(desk: Desk, wiring: Wiring) -> list[tuple[gr.ImageEditor, bool]]:
    """A doodle or a picture translated; a part of a picture made anew. Returns the pads, for their ground."""
    with gr.Tabs():
        with gr.Tab("Doodle", id="doodle"):
            doodle = _doodle(desk, wiring)
        with gr.Tab("Inpaint", id="inpaint"):
            picture = _inpaint(desk, wiring)
    return [(doodle, True), (picture, False)]


def _doodle(desk: Desk, wiring: Wiring) -> gr.ImageEditor:
    names = desk.worker.names
    with gr.Row():
        with gr.Column(min_width=340):
            pad = gr.ImageEditor(
                label="Draw, or upload a picture",
                type="pil",
                image_mode="RGBA",
                format="png",
                canvas_size=(PAD, PAD),
                fixed_canvas=True,
                height=460,
                sources=["upload", "clipboard"],
                transforms=[],
                layers=False,
                brush=gr.Brush(
                    default_size=22,
                    colors=["#ffffff", "#111827", "#dc2626", "#f59e0b", "#16a34a", "#2563eb", "#78350f"],
                    default_color="#ffffff" if example(names, "d", "w") == "d" else "#dc2626",
                ),
                elem_id="doodle-pad",
            )
        with gr.Column(min_width=280):
            text = gr.Textbox(
                example(names, "3", "a red apple"), label="What it becomes", elem_id="doodle-prompt"
            )
            strength = gr.Slider(0.05, 1, value=0.7, step=0.05, label="Strength: how much is forgotten")
            here = stage("doodle", "Translate", columns=2)

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        drawn, asked, share = values
        x = _drawing(drawn, desk.model(wish.model))
        return [desk.part(wish, translate(x, _asked(asked), strength=float(share)))]

    wiring.make([here.go.click, text.submit], here, order, [pad, text, strength])
    return pad


def _inpaint(desk: Desk, wiring: Wiring) -> gr.ImageEditor:
    names = desk.worker.names
    with gr.Row():
        with gr.Column(min_width=340):
            pad = gr.ImageEditor(
                label="Paint over what is to be made anew",
                type="pil",
                image_mode="RGBA",
                format="png",
                canvas_size=(PAD, PAD),
                height=460,
                sources=["upload", "clipboard"],
                transforms=[],
                layers=False,
                brush=gr.Brush(default_size=40, colors=["#e11d48"], color_mode="fixed"),
                elem_id="inpaint-pad",
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
            here = stage("inpaint", "Inpaint", columns=2)
            seen = gr.Image(
                label="The mask as it was understood",
                interactive=False,
                height=180,
                visible=False,
                format="png",
                elem_id="inpaint-mask",
                elem_classes="pixels",
                buttons=[],
            )

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        drawn, uploaded, kind, asked, share, passes = values
        model = desk.model(wish.model)
        x, region = _masked(drawn, uploaded, kind, model)
        jump = max(1, min(10, (wish.steps or model.defaults.steps) // 2))
        change = inpaint(
            x, Mask(region), _asked(asked), strength=float(share), repeats=int(passes), jump=jump
        )
        return [desk.part(wish, change)]

    @quick
    def resolved(drawn: Any, uploaded: Any, kind: str, name: str) -> Any:
        try:
            x, region = _masked(drawn, uploaded, kind, desk.model(name))
        except UsageError:
            return gr.update(value=None, visible=False)
        return gr.update(value=shown(x[0] * (1 - region[0]) + region[0]), visible=True)

    @quick
    def latest(request: gr.Request) -> Any:
        history = desk.visitor(request.session_hash).history
        if not history:
            raise UsageError("there is no picture yet: make one, or upload one here")
        image = shown(history[0].x).convert("RGBA").resize((PAD, PAD), Image.Resampling.NEAREST)
        return {"background": image, "layers": [], "composite": image}

    inputs = [pad, mask, convention, text, strength, repeats]
    wiring.make([here.go.click, text.submit], here, order, inputs)
    which = [pad, mask, convention, wiring.settings.model]
    here.go.click(resolved, which, seen, **_LIGHT)
    gr.on([mask.change, convention.change, pad.apply], resolved, which, seen, **_LIGHT)
    take.click(latest, outputs=pad, **_LIGHT)
    return pad


def ground(desk: Desk, name: str | None, drawn_on: bool) -> Any:
    """What a drawing pad begins with: white, or black where a model draws in white on black."""
    if not drawn_on:
        return gr.skip()
    grey = bool(desk.worker.models) and desk.model(name).shape[0] == 1
    image = Image.new("RGBA", (PAD, PAD), "black" if grey else "white")
    return {"background": image, "layers": [], "composite": image}


def _channels(model: Model) -> Any:
    return 1 if model.shape[0] == 1 else 3


def _drawing(value: Any, model: Model) -> Tensor:
    """What a pad holds, (1, C, H, W) of the model's size."""
    composite = value.get("composite") if isinstance(value, dict) else value
    if composite is None:
        raise UsageError("draw something, or upload a picture")
    return _read(composite, model)


def _read(image: Image.Image, model: Model) -> Tensor:
    """A picture of the page, (1, C, H, W) of the model's size; what the page enlarged by its own pixels."""
    _, height, width = model.shape
    small = image.resize((width, height), Image.Resampling.NEAREST)
    apart = ImageChops.difference(image, small.resize(image.size, Image.Resampling.NEAREST))
    source = small if int(np.asarray(apart).max()) <= ROUNDING else image
    return read_picture(source, size=(height, width), channels=_channels(model))


def _masked(value: Any, uploaded: Any, convention: str, model: Model) -> tuple[Tensor, Tensor]:
    """The picture under the paint, and the mask (1, 1, H, W): the paint, or an uploaded one."""
    background = value.get("background") if isinstance(value, dict) else None
    if background is None:
        raise UsageError("upload a picture, or take the latest one, and paint over a part of it")
    size = (model.shape[1], model.shape[2])
    x = _read(background, model)
    own = (background.height, background.width)
    if uploaded is not None:
        return x, read_mask(
            uploaded, convention="alpha" if convention == "alpha" else "white", size=own, resize=size
        )
    paint = Image.new("L", background.size, 0)
    for layer in value["layers"]:
        if layer is not None:
            alpha = layer.convert("RGBA").getchannel("A")
            paint.paste(255, (0, 0), alpha.resize(background.size).point(lambda level: 255 * (level > 64)))
    return x, read_mask(paint, size=own, resize=size)


# -------------------------------------------------------------------------------------------- understand


def understand(desk: Desk, wiring: Wiring) -> None:
    """Noise on a picture, and how it is taken away: in one step, in many, under more and more guidance."""
    names = desk.worker.names
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
            text = gr.Textbox(
                example(names, "7", "a red apple"), label="What it shows", elem_id="understand-prompt"
            )
            level = gr.Slider(0.05, 1, value=0.6, step=0.05, label="Noise level", elem_id="understand-level")
    here = stage("understand", "Noise and denoise")
    with gr.Group(visible=False) as group:
        step = gr.Slider(1, 20, value=1, step=1, label="Step", elem_id="understand-step", buttons=[])
        with gr.Row():
            state = gr.Image(label="x_t: what the network sees", **_PAIR)
            estimate = gr.Image(label="x0: what it believes is under the noise", **_PAIR)
    gr.Markdown("#### Guidance: the same noise, pushed further and further towards the prompt")
    sweep = stage("sweep", "Sweep the guidance", columns=5)

    def start(wish: Wishes, given: Any) -> Tensor:
        model = desk.model(wish.model)
        if given is not None:
            return _read(given, model)
        history = desk.visitor(wish.session).history
        fitting = [entry.x for entry in history if entry.x.shape == model.shape]
        if not fitting:
            raise UsageError("upload a picture, or make one in Generate first")
        return fitting[0]

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        given, asked, share = values
        slow = replace(wish, steps=wish.steps or 20)
        return [desk.part(slow, translate(start(wish, given), _asked(asked), strength=float(share)))]

    def four(update: Update) -> list[tuple[Any, str]]:
        first, entry = update.steps[0], update.entries[0]
        assert first.x is not None
        assert first.x0 is not None
        return [
            (shown(desk.start_of(entry.recipe)), "the picture"),
            (shown(first.x), f"noised, t = {first.t:.2f}"),
            (shown(first.x0), "in one step"),
            (str(entry.path), f"in {len(update.steps)} steps"),
        ]

    def done(update: Update, request: gr.Request) -> Sequence[Any]:
        steps = desk.visitor(request.session_hash).steps = list(update.steps)
        first = steps[0]
        assert first.x is not None
        assert first.x0 is not None
        slider = gr.update(maximum=len(steps), value=1)
        return [gr.update(visible=True), slider, shown(first.x), shown(first.x0)]

    wiring.make(
        [here.go.click],
        here,
        order,
        [picture, text, level],
        count=1,
        final=four,
        then=done,
        outputs=[group, step, state, estimate],
    )

    def swept(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        (asked,) = values
        if not (asked and asked.strip()):
            raise UsageError("guidance needs a prompt")
        return [desk.part(replace(wish, guidance=scale), prompt(asked)) for scale in SWEEP]

    def captions(update: Update) -> list[tuple[Any, str]]:
        pictures = zip(update.entries, SWEEP, strict=True)
        return [(str(entry.path), f"guidance {scale:g}") for entry, scale in pictures]

    wiring.make([sweep.go.click], sweep, swept, [text], count=1, final=captions)

    @quick
    def look(index: float, request: gr.Request) -> Any:
        steps = desk.visitor(request.session_hash).steps
        if not 1 <= index <= len(steps):
            return gr.skip(), gr.skip()
        seen = steps[int(index) - 1]
        return shown(seen.x), shown(seen.x0)  # type: ignore[arg-type]

    gr.on([step.input, step.change], look, step, [state, estimate], trigger_mode="always_last", **_LIGHT)


_PAIR: dict[str, Any] = {
    "interactive": False,
    "height": 300,
    "format": "png",
    "elem_classes": "pixels",
    "buttons": [],
    "min_width": 140,
}


# ------------------------------------------------------------------------------------------------ digits


def digits(desk: Desk, wiring: Wiring) -> None:
    """Rows of digits of a model that knows them."""
    wanted = gr.CheckboxGroup(
        list("0123456789"), value=list("0123456789"), label="Digits", elem_id="digits-wanted"
    )
    each = gr.Slider(1, 6, value=2, step=1, label="Of each")
    here = stage("digits", "Write digits", columns=6)

    def order(wish: Wishes, values: list[Any]) -> Sequence[Part]:
        chosen, several = values
        if not chosen:
            raise UsageError("choose a digit")
        name = wish.model if desk.model(wish.model).class_names else _digits_model(desk)
        rows = replace(wish, model=name, count=int(several))
        return [desk.part(rows, prompt(digit)) for digit in sorted(chosen)]

    wiring.make([here.go.click], here, order, [wanted, each])


def _digits_model(desk: Desk) -> str:
    for name, model in desk.worker.models.items():
        if set("0123456789") <= set(model.class_names):
            return name
    raise UsageError("no model of digits is loaded here: start with --model digits")

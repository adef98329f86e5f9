"""The tab Illusions: anagrams and hybrids."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw
from torch import Tensor

from sfumato.apps.studio.backend import SamplingSettings, Update, enlargement, shown
from sfumato.apps.studio.components import LIGHT, PICKER, STILL, Wiring, quick, result_panel
from sfumato.core.views import VIEWS, make_view
from sfumato.errors import UsageError
from sfumato.pictures import read_picture, to_image
from sfumato.pictures.grid import enlarge_pixels
from sfumato.pictures.turning import from_afar, turned
from sfumato.serving import Part
from sfumato.techniques import anagram, hybrid

PICKED = [name for name in VIEWS if name not in ("identity", "pixel_permute")]
DEMONSTRATION = 96  # pixels of the picture that shows what the views do


def illusions(wiring: Wiring) -> None:
    """Anagrams and hybrids."""
    with gr.Tabs():
        with gr.Tab("Turn it", id="anagram"):
            _anagrams(wiring)
        with gr.Tab("Near and far", id="hybrid"):
            _hybrids(wiring)


def _anagrams(wiring: Wiring) -> None:
    backend = wiring.backend
    narrow: dict[str, Any] = {"min_width": 160, "max_lines": 2}
    with gr.Row():
        first = wiring.prompt("anagram-first", "Upright", "6", "a pig face", **narrow)
        second = wiring.prompt("anagram-second", "Through the view", "9", "a strawberry", **narrow)
        third = gr.Textbox("", label="Through a second view (optional)", **narrow)
    with gr.Row():
        view = gr.Dropdown(PICKED, value="rotate_180", label="View", elem_id="anagram-view", min_width=160)
        other = gr.Dropdown(PICKED, value="flip", label="Second view", min_width=160)
    with gr.Accordion("What the views do: pick one", open=True):
        picker = gr.Gallery(value=_demonstrations(), columns=6, elem_id="anagram-picker", **PICKER)
    panel = result_panel("anagram", "Make anagrams")
    moved = MovedPicture("anagram", "Turn it", 0, 1)

    def make_parts(settings: SamplingSettings, *values: Any) -> Sequence[Part]:
        one, two, three, *views = values
        readings = [text for text in (one, two, three) if text and text.strip()]
        if len(readings) < 2 or not (one and two):
            raise UsageError("an anagram needs two prompts at least")
        return [backend.part(settings, anagram(*readings, view=views[: len(readings) - 1]))]

    inputs = [first, second, third, view, other]
    wiring.make(panel, make_parts, inputs, submit=second, then=moved.show, outputs=moved.outputs)

    @quick
    def pick(event: gr.SelectData) -> Any:
        return PICKED[event.index]

    def look(share: float, x: Tensor | None, name: str) -> Any:
        if x is None:
            return gr.skip()
        return to_image(turned(x, make_view(name), share, enlarge=enlargement(x)))

    @quick
    def choose(event: gr.SelectData, request: gr.Request) -> Any:
        made = wiring.made(request)
        return moved.values(made[event.index].x) if event.index < len(made) else gr.skip()

    picker.select(pick, outputs=view, **LIGHT)
    panel.gallery.select(choose, outputs=moved.outputs, **LIGHT)
    wiring.slide(moved.slider, look, [moved.latest, view], [moved.image])


def _hybrids(wiring: Wiring) -> None:
    with gr.Row():
        far = wiring.prompt("hybrid-far", "From afar", "3", "a bear", min_width=160)
        near = wiring.prompt("hybrid-near", "From near", "8", "a cookie", min_width=160)
    label = "Blur between them (less shows more of what is far)"
    sigma = gr.Slider(0.5, 6, value=wiring.example(2, 3), step=0.1, label=label)
    panel = result_panel("hybrid", "Make hybrids")
    moved = MovedPicture("hybrid", "Step back", 1, 8)

    def make_parts(settings: SamplingSettings, far: str, near: str, sigma: float) -> Sequence[Part]:
        if not (far and far.strip() and near and near.strip()):
            raise UsageError("a hybrid needs a prompt for afar and one for near")
        return [wiring.backend.part(settings, hybrid(far=far, near=near, sigma=float(sigma)))]

    def look(times: float, x: Tensor | None) -> Any:
        return gr.skip() if x is None else to_image(from_afar(enlarge_pixels(x, enlargement(x)), times))

    wiring.make(panel, make_parts, [far, near, sigma], then=moved.show, outputs=moved.outputs)
    wiring.slide(moved.slider, look, [moved.latest], [moved.image])


class MovedPicture:
    """The latest picture, hidden until there is one, and a slider that moves it."""

    def __init__(self, name: str, label: str, low: float, high: float) -> None:
        """name: begins the ids. low, high: the ends of the slider, which begins at low."""
        self.low = low
        with gr.Group(visible=False) as self.group:
            self.slider = gr.Slider(
                low, high, value=low, step=0.01, label=label, elem_id=f"{name}-slider", buttons=[]
            )
            self.image = gr.Image(label="Move the slider", height=340, elem_id=f"{name}-result", **STILL)
        self.latest = gr.State(None)
        self.outputs = [self.group, self.slider, self.image, self.latest]

    def values(self, x: Tensor) -> list[Any]:
        """What the outputs are with this picture, (C, H, W)."""
        return [gr.update(visible=True), gr.update(value=self.low), shown(x), x]

    def show(self, update: Update, request: gr.Request) -> list[Any]:  # noqa: ARG002
        """Show the first picture of a job that is done."""
        return self.values(update.made[0].x)


@lru_cache(maxsize=1)
def _demonstrations() -> list[tuple[Image.Image, str]]:
    """Through every view: a letter on two colours, which looks otherwise through each."""
    side = DEMONSTRATION
    image = Image.new("RGB", (side, side), "#c7d2fe")
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, side), (side, side), (side, 0)], fill="#fde68a")
    ink = "#312e81"
    draw.rectangle([28, 16, 42, 80], fill=ink)
    draw.rectangle([28, 16, 70, 30], fill=ink)
    draw.rectangle([28, 42, 60, 54], fill=ink)
    draw.ellipse([66, 64, 86, 84], fill="#dc2626")
    plain = read_picture(image, channels=3)
    return [(to_image(make_view(name).forward(plain)[0]), name) for name in PICKED]

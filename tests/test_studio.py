"""The studio in a browser: what a visitor does, what comes of it, and that nobody else is asked anything."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

from live import Live, live, wait_for
from sfumato.apps.server import Settings
from sfumato.core.views import make_view
from sfumato.pictures import read_metadata, read_picture
from sfumato.sampling import sample
from sfumato.techniques import anagram
from test_report_page import ARGUMENTS, CHROMIUM, PHONE, WIDE
from toy_models import WatchedModel

sync_api = pytest.importorskip("playwright.sync_api")
mount = pytest.importorskip("sfumato.apps.studio").mount

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]
PATIENCE = 60_000
SIDE = 16


@pytest.fixture(scope="module")
def toy() -> WatchedModel:
    return WatchedModel("digits")


@pytest.fixture(scope="module")
def server(toy: WatchedModel) -> Iterator[Live]:
    with live(toy, page=mount) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """An open page; what it complains of and whom it asks is noted."""

    def __init__(self, browser: Any, server: Live, viewport: dict[str, int]) -> None:
        self.context = browser.new_context(viewport=viewport)
        self.context.set_default_timeout(PATIENCE)
        self.said: list[str] = []
        self.context.on("request", self._note_request)
        self.server = server
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.said.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(server.url)
        self.page.wait_for_selector("#generate-go")
        self.page.get_by_label("New seed each time").uncheck()

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.said.append(f"asked {request.url}")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def make(self, name: str) -> list[Tensor]:
        """Click, wait, and read what the gallery shows, (C, H, W) in the model's own pixels."""
        self.page.locator(f"#{name}-go").click()
        self.page.locator(f"#{name}-status", has_text="in ").locator(".told:has-text(' s.')").wait_for()
        images = self.page.locator(f"#{name}-gallery img")
        images.first.wait_for()
        return [small(self.fetch(image.get_attribute("src"))) for image in images.all()]

    def fetch(self, address: str | None) -> bytes:
        assert address is not None
        return httpx.get(httpx.URL(self.server.url).join(address)).content

    def stroke(self, pad: str, *points: tuple[float, float]) -> None:
        canvas = self.page.locator(f"#{pad} canvas").first
        canvas.wait_for()
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        x, y = box["x"], box["y"]
        for i, (across, down) in enumerate(points):
            self.page.mouse.move(x + across * box["width"], y + down * box["height"], steps=6)
            if i == 0:
                self.page.mouse.down()
        self.page.mouse.up()

    def slide(self, name: str, value: float) -> None:
        self.page.locator(f"#{name} input[type=range]").evaluate(
            "(e, value) => { e.value = value; for (const kind of ['input', 'change'])"
            " e.dispatchEvent(new Event(kind, {bubbles: true})) }",
            value,
        )


def small(data: bytes) -> Tensor:
    """A picture of the page in the model's own pixels."""
    x = read_picture(data, channels=1)[0]
    factor = x.shape[-1] // SIDE
    return x[..., ::factor, ::factor]


def near(x: Tensor, y: Tensor) -> None:
    torch.testing.assert_close(x, y, atol=1 / 127.5 + 1e-4, rtol=0)


@contextmanager
def visiting(browser: Any, server: Live, viewport: dict[str, int]) -> Iterator[Visit]:
    """A visit that ends without a complaint, on a page that is no wider than the screen."""
    visit = Visit(browser, server, viewport)
    try:
        yield visit
        width = visit.page.evaluate("document.documentElement.scrollWidth")
    finally:
        visit.context.close()
    assert visit.said == []
    assert width <= viewport["width"]


@pytest.fixture
def visit(browser: Any, server: Live) -> Iterator[Visit]:
    with visiting(browser, server, WIDE) as visit:
        yield visit


def test_on_a_phone(browser: Any, server: Live) -> None:
    with visiting(browser, server, PHONE) as visit:
        assert len(visit.make("generate")) == 4
        visit.page.locator("#history img").first.click()
        visit.page.locator("#recipe", has_text='"seed"').wait_for()
        visit.tab("Illusions")
        visit.page.locator("#anagram-second textarea").fill("7")
        visit.make("anagram")
        visit.tab("Edit")
        visit.stroke("doodle-pad", (0.45, 0.3), (0.6, 0.4), (0.45, 0.6))
        visit.make("doodle")


def test_a_prompt_becomes_pictures_that_can_be_made_again(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.locator("#generate-prompt textarea").fill("3")
    made = visit.make("generate")
    alone = sample(WatchedModel("digits"), "3", seed=7, count=4)
    assert len(made) == 4
    for x, y in zip(made, alone.x, strict=True):
        near(x, y)
    page.locator("#history img").last.click()
    page.locator("#recipe", has_text='"seed"').wait_for()
    with page.expect_download() as started:
        page.locator("#download").click()
    file = tmp_path / "x.png"
    started.value.save_as(file)
    metadata = read_metadata(file)
    assert metadata is not None
    assert metadata["recipe"] == json.loads(json.dumps(alone.recipe.single(0).plain()))
    page.reload()
    page.locator("#dropped input[type=file]").set_input_files(file)
    page.locator("#recipe", has_text='"seed"').wait_for()
    near(visit.make("again")[0], alone.x[0])


def test_an_anagram_is_made_and_turned(visit: Visit) -> None:
    visit.tab("Illusions")
    page = visit.page
    page.locator("#anagram-first textarea").fill("6")
    page.locator("#anagram-second textarea").fill("7")
    page.locator("#anagram-picker img").nth(2).click()  # rotate_cw
    wait_for(lambda: page.locator("#anagram-view input").input_value() == "rotate_cw")
    made = visit.make("anagram")
    near(made[0], sample(WatchedModel("digits"), anagram("6", "7", view="rotate_cw"), seed=7).x[0])
    visit.slide("anagram-slider", 1)
    turned = make_view("rotate_cw").forward(made[0][None])[0]

    def is_turned() -> bool:
        src = page.locator("#anagram-result img").first.get_attribute("src")
        return torch.equal(small(visit.fetch(src)), turned)

    wait_for(is_turned)


def test_a_hybrid_is_seen_from_afar(visit: Visit) -> None:
    visit.tab("Illusions")
    visit.tab("Near and far")
    for name, text in (("far", "3"), ("near", "5")):
        visit.page.locator(f"#hybrid-{name} textarea").fill(text)
    visit.make("hybrid")
    visit.slide("hybrid-slider", 4)

    def is_small() -> bool:
        src = visit.page.locator("#hybrid-result img").first.get_attribute("src")
        x = read_picture(visit.fetch(src), channels=1)[0, 0]
        return bool((x[: x.shape[0] // 3] == 1).all())

    wait_for(is_small)


def test_a_doodle_is_translated(visit: Visit) -> None:
    visit.tab("Edit")
    visit.stroke("doodle-pad", (0.45, 0.3), (0.6, 0.4), (0.45, 0.6))
    visit.page.locator("#doodle-prompt textarea").fill("3")
    made = visit.make("doodle")
    visit.page.locator("#history img").first.click()
    recipe = visit.page.locator("#recipe", has_text='"start"')
    recipe.wait_for()
    assert len(made) == 4
    plain = sample(WatchedModel("digits"), "3", seed=7).x[0]
    assert not torch.allclose(made[0], plain, atol=0.05)


def test_a_mask_is_painted_and_what_is_outside_stays(visit: Visit) -> None:
    before = visit.make("generate")[-1]  # the newest of the history
    visit.tab("Edit")
    visit.tab("Inpaint")
    visit.page.locator("#inpaint-take").click()
    time.sleep(1)  # the editor draws its ground
    visit.stroke("inpaint-pad", (0.5, 0.35), (0.55, 0.4))
    visit.page.locator("#inpaint-prompt textarea").fill("5")
    visit.page.get_by_label("Seed", exact=True).fill("99")
    made = visit.make("inpaint")
    mask = visit.page.locator("#inpaint-mask img").first
    mask.wait_for()
    new = small(visit.fetch(mask.get_attribute("src"))) == 1
    changed = (made[0] - before).abs() > 1 / 127
    assert 0 < int(new.sum()) < SIDE * SIDE
    assert changed.any()
    assert not (changed & ~new).any()


def test_noise_is_taken_away_step_by_step(visit: Visit) -> None:
    visit.make("generate")
    visit.tab("Understand")
    four = visit.make("understand")
    assert len(four) == 4
    page = visit.page
    first = page.locator("#understand-step input[type=range]")
    assert first.get_attribute("max") == "12"  # 0.6 of 20 steps
    assert len(visit.make("sweep")) == 5


def test_digits_are_written(visit: Visit) -> None:
    visit.tab("Digits")
    for digit in "89":  # what the toy cannot draw
        visit.page.locator("#digits-wanted").get_by_label(digit).uncheck()
    assert len(visit.make("digits")) == 16


def test_what_takes_too_long_is_stopped(visit: Visit, toy: WatchedModel, server: Live) -> None:
    toy.gated = True
    try:
        visit.page.locator("#generate-go").click()
        toy.gate.release(2)
        visit.page.locator("#generate-status .bar").wait_for()
        visit.page.locator("#generate-gallery img").first.wait_for()  # a preview
        visit.page.locator("#generate-stop").click()
        time.sleep(0.3)
    finally:
        toy.open()
    visit.page.locator("#generate-status", has_text="Stopped.").wait_for()
    wait_for(lambda: server.worker.running == server.worker.queued == 0)


def test_what_cannot_be_made_is_said_on_the_page(visit: Visit) -> None:
    for text, message in (("a rocket", "cannot draw"), ("9", "this failed inside")):
        visit.page.locator("#generate-prompt textarea").fill(text)
        visit.page.locator("#generate-go").click()
        visit.page.locator("#generate-status .wrong", has_text=message).wait_for()
    assert "secret internals" not in visit.page.content()


def test_the_page_has_a_door_where_there_is_a_key() -> None:
    key = "a key of twenty bytes"
    with live(WatchedModel("digits"), settings=Settings(api_key=key), page=mount) as server:
        assert httpx.get(f"{server.url}/config").status_code == 401
        assert httpx.get(f"{server.url}/gradio_api/info").status_code == 401
        given = httpx.post(f"{server.url}/login", data={"username": "sfumato", "password": key})
        assert given.status_code == 200
        wrong = httpx.post(f"{server.url}/login", data={"username": "sfumato", "password": "x"})
        assert wrong.status_code == 400


def test_no_address_is_fetched_for_a_visitor(server: Live) -> None:
    from gradio import processing_utils

    with pytest.raises(ValueError, match="upload"):
        processing_utils.ssrf_protected_download(f"{server.url}/healthz", "cache")


def test_pictures_for_the_page_are_within_the_limits(server: Live) -> None:
    too_much = {"files": ("x.png", b"a" * (33 * 2**20))}
    assert server.client.post("/gradio_api/upload", files=too_much).status_code == 413

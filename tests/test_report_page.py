"""The page in a browser: wide and phone-sized, light and dark. Skipped where there is no Chromium."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfumato.apps.report.chapters import REPORT
from test_report import report_of, write_tour

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, PHONE = {"width": 1360, "height": 900}, {"width": 390, "height": 844}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with what is shown in most ways, and with sections that are not made."""
    folder = tmp_path_factory.mktemp("page")
    chapters = [chapter for chapter in REPORT.chapters if chapter.id in {"0", "4", "8", "9", "b1"}]
    report_of(folder / "out", write_tour(folder / "tour"), quick=True).make(chapters=chapters)
    return folder / "out" / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_is_broken_and_nothing_is_asked_for_outside(
    browser: object, page_file: Path, viewport: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[attr-defined]
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    broken = page.evaluate("[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)")
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    assert not said
    assert not broken
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    assert wide <= seen, "the page scrolls sideways"
    brightness = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert (brightness > 128) == (scheme == "light")


def test_the_slider_takes_the_picture_away_and_the_theme_is_the_readers_choice(
    browser: object, page_file: Path
) -> None:
    page = browser.new_page(viewport=WIDE)  # type: ignore[attr-defined]
    page.goto(page_file.as_uri())
    picture, slider = page.locator(".distance .walks").first, page.locator(".distance input").first
    near = picture.bounding_box()["width"]
    slider.fill("100")
    assert picture.bounding_box()["width"] == pytest.approx(near / 10, rel=0.02)

    page.locator(".theme").click()  # auto, then light, then dark
    page.locator(".theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.close()


def test_an_anagram_turns_and_stops_where_it_is_touched(browser: object, page_file: Path) -> None:
    page = browser.new_page(viewport=WIDE)  # type: ignore[attr-defined]
    page.goto(page_file.as_uri())
    stage = page.locator("#s8 .stage.view-flip").first
    stage.scroll_into_view_if_needed()
    state = "(s) => getComputedStyle(s.querySelector('.upright')).animationPlayState"
    page.wait_for_function(f"(s) => ({state})(s) === 'running'", arg=stage.element_handle())
    name = stage.evaluate("(s) => getComputedStyle(s.querySelector('.upright')).animationName")
    assert name == "flip"
    stage.click()
    assert stage.evaluate(state) == "paused"
    page.close()

"""What the text-to-image model does not understand is said: by the library, the command line and the API."""

import io
import json
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sfumato as sf
from commands import Run
from sfumato.models.text.emoji import name_emoji
from sfumato.models.understanding import remarks_on

pytest.importorskip("fastapi", reason="serving comes with an extra")
import httpx

from live import live

# The prompts of which nothing was said, and a word that must now be in what is said
NOT_ENGLISH = {
    "яблоко": "яблоко",
    "りんご": "りんご",
    "una manzana roja": "manzana",
    "Apfel": "apfel",
    "사과": "사과",
    "🍎 on a table": "red apple",
    "xkqzv": "xkqzv",
    "🐼": "panda",
    "苹果": "苹果",
}


@pytest.fixture(scope="module")
def model() -> sf.Model:
    return _shared()


@pytest.mark.parametrize(("prompt", "word"), NOT_ENGLISH.items())
def test_what_is_not_understood_is_said(model: sf.Model, prompt: str, word: str) -> None:
    assert any(word in remark for remark in remarks_on(model, sf.prompt(prompt)))


@pytest.mark.parametrize(
    "prompt", ["a rocket", "a red apple", "a panda, flat style", "a cat and a dog", "an old man", "", "  "]
)
def test_nothing_is_said_of_what_is_understood(model: sf.Model, prompt: str) -> None:
    assert remarks_on(model, sf.prompt(prompt)) == []


def test_the_nearest_concepts_are_named(model: sf.Model) -> None:
    (remark,) = remarks_on(model, sf.prompt("a spreadsheet"))
    concepts = model.provenance["concepts"]
    assert len(concepts) == len(model.network.recall.keys)
    nearest = remark.partition("nearest are ")[2].split(", ")
    assert len(nearest) == 3
    assert set(nearest) <= set(concepts)
    assert "desktop computer" in nearest


def test_every_prompt_of_an_expression_is_read_and_each_remark_said_once(model: sf.Model) -> None:
    both = sf.anagram("xkqzv", "a rocket").guided(3, negative="xkqzv")
    said = remarks_on(model, both)
    assert len(said) == len(set(said)) == 2
    (cut,) = [r for r in remarks_on(model, sf.prompt("a dog " * 100)) if "64 tokens" in r]
    assert len(cut) < 200


def test_models_without_words_say_nothing() -> None:
    assert remarks_on(sf.load("digits"), sf.prompt("7")) == []


def test_the_library_warns(model: sf.Model) -> None:
    with pytest.warns(UserWarning, match="xkqzv") as caught:
        sf.sample(model, "xkqzv", steps=1)
    assert {warning.filename for warning in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sf.sample(model, "a rocket", steps=1)


# -- emoji


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("🍎", "red apple"),
        ("a 🐼 and a 🚀", "a panda and a rocket"),
        ("❤️", "red heart"),
        ("👩🏽\u200d🚀", "astronaut"),
        ("plain", "plain"),
        ("café", "café"),
    ],
)
def test_emoji_have_names(text: str, named: str) -> None:
    assert name_emoji(text).text == named


def test_an_emoji_is_drawn_as_its_name(model: sf.Model) -> None:
    with pytest.warns(UserWarning, match="panda"):
        one = sf.sample(model, "🐼, flat style", seed=3, steps=1).x
    assert one.equal(sf.sample(model, "panda, flat style", seed=3, steps=1).x)


def test_a_sign_without_a_name_is_said_to_be_unknown(model: sf.Model) -> None:
    assert name_emoji("♈").unnamed == ["♈"]
    assert any("♈" in remark for remark in remarks_on(model, sf.prompt("♈")))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_any_text_can_be_remarked_on(text: str) -> None:
    for remark in remarks_on(_shared(), sf.prompt(text)):
        assert remark


@cache
def _shared() -> sf.Model:
    return sf.load("emoji")


# -- the command line


def test_the_command_line_says_it(run: Run) -> None:
    args = ["generate", "xkqzv", "--steps", 1, "--seed", 1, "--recipe-out", "r.json"]
    code, out, err = run(*args)
    assert code == 0
    assert "xkqzv" in err
    assert ".py" not in err
    code, out, _ = run(*args, "--json", "--quiet")
    assert any("xkqzv" in warning for warning in json.loads(out)["warnings"])
    assert "xkqzv" in run("run", "r.json", "--out", "y.png")[2]
    code, out, err = run("generate", "🍎", "--steps", 1, "--seed", 1)
    assert (code, out, "red apple" in err) == (0, "red-apple-1.png\n", True)


def test_a_blank_prompt_is_none(run: Run) -> None:
    digits = ["-m", "digits", "--steps", 1, "--seed", 1]
    names = [run("generate", *prompt, *digits)[1].strip() for prompt in ([], [""], ["  "])]
    assert len({Path(name).read_bytes() for name in names}) == 1


# -- the API


@pytest.fixture(scope="module")
def client(model: sf.Model) -> Iterator[httpx.Client]:
    with live(model) as running:
        yield running.client


def test_the_api_says_it(client: httpx.Client) -> None:
    body = {"prompt": "xkqzv", "num_inference_steps": 1}
    answer = client.post("/v1/images/generations", json=body).json()
    assert any("xkqzv" in warning for warning in answer["warnings"])
    answer = client.post("/v1/images/generations", json=body | {"prompt": "a rocket"}).json()
    assert answer["warnings"] == []
    recipe = {"recipe": {"expression": {"prompt": "xkqzv"}, "steps": 1}}
    assert any("xkqzv" in w for w in client.post("/v1/recipes", json=recipe).json()["warnings"])


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_a_blank_prompt_is_refused_by_the_api(client: httpx.Client, prompt: str) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": prompt, "num_inference_steps": 1})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


def test_the_api_says_what_it_did_to_an_upload(client: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(file, "PNG")
    form = {"prompt": "a red apple", "num_inference_steps": "2"}
    answer = client.post("/v1/images/edits", data=form, files={"image": file.getvalue()}).json()
    (warning,) = answer["warnings"]
    assert "300x200" in warning

"""The server as its clients see it: the official one, and whoever sends what they should not."""

import base64
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
import uvicorn
from PIL import Image
from torch import Tensor

from live import Live, live, wait_for
from sfumato.apps.server import Settings, create_app
from sfumato.apps.server.store import File, Store
from sfumato.errors import UsageError
from sfumato.pictures import read_metadata, read_picture
from sfumato.recipe import parse_recipe
from sfumato.sampling import run, sample
from sfumato.serving import Limits
from sfumato.techniques import anagram, inpaint, translate
from toy_models import WatchedModel

SIDE = 16
KEY = "a key of twenty bytes"


@pytest.fixture(scope="module")
def toy() -> WatchedModel:
    return WatchedModel()


@pytest.fixture(scope="module")
def server(toy: WatchedModel) -> Iterator[Live]:
    with live(toy, settings=Settings(body_seconds=2.0)) as running:
        yield running


@pytest.fixture
def client(server: Live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")


def png(image: Image.Image | None = None) -> bytes:
    file = io.BytesIO()
    (image or Image.new("L", (SIDE, SIDE), 200)).save(file, "PNG")
    return file.getvalue()


def half_transparent(size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    return mask


def pixels(b64: str | None) -> Tensor:
    assert b64 is not None
    return read_picture(base64.b64decode(b64))[0]


def near(b64: str | None, x: Tensor) -> None:
    """The picture is x, but for the rounding to 8 bits."""
    torch.testing.assert_close(pixels(b64), x, atol=1 / 127.5 + 1e-4, rtol=0)


# ------------------------------------------------------------------------------ the official client


def test_the_official_client_generates(client: openai.OpenAI) -> None:
    made = client.images.generate(model="toy", prompt="3", n=3, extra_body={"seed": 7})
    assert made.data is not None
    assert (made.output_format, made.size) == ("png", "16x16")
    alone = sample(WatchedModel(), "3", seed=7, count=3)
    for image, x in zip(made.data, alone.x, strict=True):
        near(image.b64_json, x)


def test_a_picture_carries_its_recipe_and_it_makes_it_again(client: openai.OpenAI, tmp_path: Path) -> None:
    made = client.images.generate(
        prompt="seven",
        size="64x64",
        output_format="webp",
        output_compression=100,
        extra_body={
            "negative_prompt": "1",
            "guidance_scale": 3,
            "num_inference_steps": 6,
            "solver": "ddim",
            "seed": 2**64 - 1,
        },
    )
    assert made.data is not None
    file = tmp_path / "x.webp"
    file.write_bytes(base64.b64decode(made.data[0].b64_json or ""))
    metadata = read_metadata(file)
    assert metadata is not None
    recipe = parse_recipe(metadata["recipe"])
    assert (recipe.seed, recipe.steps, recipe.solver, metadata["enlarge"]) == (2**64 - 1, 6, "ddim", 4)
    assert "Negative prompt: 1" in recipe.parameters()
    assert tuple(read_picture(file).shape[-2:]) == (64, 64)
    assert run(recipe, WatchedModel()).x.shape == (1, 1, SIDE, SIDE)


def test_addresses_are_served_once_made(client: openai.OpenAI, server: Live) -> None:
    made = client.images.generate(prompt="3", n=2, response_format="url", output_format="jpeg")
    assert made.data is not None
    urls = [image.url or "" for image in made.data]
    assert len(set(urls)) == 2
    assert all(url.startswith(f"{server.url}/v1/files/") for url in urls)
    got = server.client.get(urls[0])
    assert got.headers["content-type"] == "image/jpeg"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(got.content)).size == (SIDE, SIDE)
    assert server.client.get(f"{server.url}/v1/files/{'0' * 32}.png").status_code == 404


def test_the_official_client_streams_true_previews(client: openai.OpenAI) -> None:
    events = list(
        client.images.generate(
            prompt="3", stream=True, partial_images=2, extra_body={"seed": 7, "num_inference_steps": 6}
        )
    )
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]  # type: ignore[union-attr]
    seen: list[Tensor] = []
    alone = sample(WatchedModel(), "3", seed=7, steps=6, on_step=lambda step: seen.append(step.x0[0]))
    for event, x in zip(events, [seen[2], seen[4], alone.x[0]], strict=True):
        near(event.b64_json, x)


def test_a_stream_of_several(client: openai.OpenAI) -> None:
    events = list(client.images.generate(prompt="3", n=3, stream=True, extra_body={"seed": 7}))
    alone = sample(WatchedModel(), "3", seed=7, count=3)
    for event, x in zip(events, alone.x, strict=True):
        near(event.b64_json, x)


def test_the_official_client_edits_with_a_mask(client: openai.OpenAI) -> None:
    made = client.images.edit(
        image=png(),
        mask=png(half_transparent()),
        prompt="4",
        extra_body={"seed": 3, "num_inference_steps": 5},
    )
    assert made.data is not None
    x = read_picture(png(), size=SIDE, channels=1)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., : SIDE // 2] = 1
    near(made.data[0].b64_json, sample(WatchedModel(), inpaint(x, mask, "4"), seed=3, steps=5).x[0])
    kept = pixels(made.data[0].b64_json)[..., SIDE // 2 :]
    assert torch.equal(kept, x[0, ..., SIDE // 2 :])


def test_the_official_client_edits_several(client: openai.OpenAI) -> None:
    dark, light = (png(Image.new("L", (SIDE, SIDE), level)) for level in (30, 220))
    events = list(
        client.images.edit(
            image=[dark, light], prompt="4", stream=True, extra_body={"seed": 3, "strength": 0.5}
        )
    )
    assert [event.type for event in events] == ["image_edit.completed"] * 2
    for event, data in zip(events, (dark, light), strict=True):
        alone = sample(WatchedModel(), translate(read_picture(data, channels=1), "4", strength=0.5), seed=3)
        near(event.b64_json, alone.x[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the hosted service has retired them
def test_the_official_client_asks_for_variations(client: openai.OpenAI) -> None:
    made = client.images.create_variation(image=png(), n=2, extra_body={"seed": 3})
    assert made.data is not None
    assert len(made.data) == 2
    assert made.data[0].b64_json != made.data[1].b64_json


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    (card,) = client.models.list().data
    assert (card.id, card.object, card.model_extra) == (
        "toy",
        "model",
        {"size": "16x16", "class_names": list("0123456789")},
    )
    assert client.models.retrieve("toy").id == "toy"
    with pytest.raises(openai.NotFoundError, match="toy"):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    ("asked", "kind", "param", "message"),
    [
        ({"prompt": "a rocket"}, openai.BadRequestError, None, "cannot draw"),
        ({"prompt": "8"}, openai.UnprocessableEntityError, None, "not finite"),
        ({"prompt": "9"}, openai.InternalServerError, None, "the server failed at this request"),
        ({"prompt": "3", "model": "dall-e-3"}, openai.NotFoundError, "model", "no such model"),
        ({"prompt": "3", "n": 11}, openai.BadRequestError, "n", "less than or equal to 10"),
        ({"prompt": "3", "style": "vivid"}, openai.BadRequestError, "style", "style"),
        ({"prompt": "3", "quality": "hd"}, openai.BadRequestError, "quality", "'auto'"),
        ({"prompt": "3", "background": "transparent"}, openai.BadRequestError, "background", "'opaque'"),
        ({"prompt": "3", "output_compression": 50}, openai.BadRequestError, None, "output_compression"),
        ({"prompt": "3", "partial_images": 1}, openai.BadRequestError, None, "stream"),
        ({"prompt": "3", "size": "17x17"}, openai.BadRequestError, "size", "toy makes 16x16"),
    ],
)
def test_errors_are_the_clients_own_and_are_not_asked_again(
    server: Live, asked: dict[str, Any], kind: type[openai.APIStatusError], param: str | None, message: str
) -> None:
    asks: list[httpx.Request] = []
    patient = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=3)
    before = patient._client.send
    patient._client.send = lambda request, **more: (asks.append(request), before(request, **more))[1]  # type: ignore
    with pytest.raises(kind, match=message) as refused:
        patient.images.generate(**asked)
    assert len(asks) == 1
    assert refused.value.param == param
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(refused.value.response.headers["x-request-id"]) == 32
    assert "secret internals" not in refused.value.response.text


def test_an_error_in_a_stream_comes_before_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot draw"):
        client.images.generate(prompt="a rocket", stream=True)


# ---------------------------------------------------------------------------------- recipes and jobs


def test_a_recipe_says_what_the_images_api_cannot(server: Live) -> None:
    alone = sample(WatchedModel(), anagram("6", "7", view="rotate_180"), seed=5, count=2)
    given = {key: value for key, value in alone.recipe.plain().items() if key != "inputs"}
    asked = {"recipe": given, "response_format": "url", "enlarge": 2}
    info = server.client.post("/v1/recipes", json=asked).json()
    assert (info["status"], info["progress"], len(info["data"])) == ("done", 1.0, 2)
    x = read_picture(server.client.get(info["data"][1]["url"]).content)[0]
    torch.testing.assert_close(x[..., ::2, ::2], alone.x[1], atol=1 / 127.5 + 1e-4, rtol=0)
    again = server.client.get(f"/v1/jobs/{info['id']}").json()
    x = pixels(again["data"][0]["b64_json"])
    torch.testing.assert_close(x[..., ::2, ::2], alone.x[0], atol=1 / 127.5 + 1e-4, rtol=0)


def test_what_a_recipe_leaves_out_is_the_models(server: Live) -> None:
    info = server.client.post(
        "/v1/recipes", json={"recipe": {"expression": {"prompt": "3"}, "seed": 7}}
    ).json()
    near(info["data"][0]["b64_json"], sample(WatchedModel(), "3", seed=7).x[0])


def test_pictures_of_a_recipe_go_by_names(server: Live) -> None:
    alone = sample(WatchedModel(), translate(read_picture(png()), "4", strength=0.5), seed=3)
    asked = {
        "recipe": {"expression": {"prompt": "4"}, "start": "mine", "strength": 0.5, "seed": 3},
        "pictures": {"mine": {"b64": base64.b64encode(png()).decode()}},
    }
    info = server.client.post("/v1/recipes", json=asked).json()
    near(info["data"][0]["b64_json"], alone.x[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": {"filter": "low_pass:sigma=2", "of": {"prompt": "3"}}}, "do not sum to the identity"),
        ({"expression": {"known": "0" * 64}}, "not at hand"),
        ({"expression": {"prompt": "3"}, "weights": "0" * 64}, "weights"),
        ({"expression": {"prompt": "3"}, "size": [10**6, 10**6]}, "1,048,576"),
        ({"expression": {"prompt": "3"}, "size": [8, 8]}, "makes 16 x 16"),
        ({"expression": {"prompt": "3"}, "steps": 10**9}, "steps"),
        ({"expression": {"prompt": "3"}, "count": 65}, "1 to 64 pictures"),
        ({"expression": {"prompt": "3"}, "steps": 1000, "repeats": 100}, "at most 10000 steps"),
        ({"expression": {"prompt": "3"}, "speed": 3}, "speed"),
        ({"expression": {"guided": 3, "of": {"prompt": "3"}, "guide": "other"}}, "'other'"),
        ({"expression": ["prompt"]}, "an expression is an object"),
        ({"expression": {"prompt": "3"}, "solver": "magic"}, "magic"),
        ({}, "expression"),
    ],
)
def test_recipes_that_cannot_be_run(server: Live, change: dict[str, Any], message: str) -> None:
    refused = server.client.post("/v1/recipes", json={"recipe": change})
    assert refused.status_code == 400, refused.text
    assert message in refused.json()["error"]["message"]


def test_a_job_in_the_background_is_asked_for_and_cancelled(toy: WatchedModel, server: Live) -> None:
    toy.gated = True
    try:
        asked = {"recipe": {"expression": {"prompt": "3"}, "steps": 500}, "background": True}
        answer = server.client.post("/v1/recipes", json=asked)
        assert answer.status_code == 202
        name = answer.json()["id"]
        assert name == answer.headers["x-request-id"]
        toy.gate.release(2)
        wait_for(lambda: server.client.get(f"/v1/jobs/{name}").json()["status"] == "running")
        going = server.client.get(f"/v1/jobs/{name}").json()
        assert 0 < going["progress"] < 1
        assert going["seconds_left"] > 0
        server.client.delete(f"/v1/jobs/{name}")
    finally:
        toy.open()
    wait_for(lambda: server.client.get(f"/v1/jobs/{name}").json()["status"] == "cancelled")
    assert server.client.get("/v1/jobs/none").status_code == 404
    assert server.client.delete("/v1/jobs/none").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_is_not_worked_for(toy: WatchedModel, server: Live, stream: bool) -> None:
    toy.gated = True
    cancelled = server.metric("sfumato_cancellations_total")
    try:
        body = json.dumps({"prompt": "3", "num_inference_steps": 900, "stream": stream}).encode()
        head = (
            f"POST /v1/images/generations HTTP/1.1\r\nHost: {server.host}\r\n"
            "Content-Type: application/json\r\n"
        )
        caller = socket.create_connection(server.host.split(":"))  # type: ignore[arg-type]
        caller.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        toy.gate.release(3)
        wait_for(lambda: server.worker.running == 1)
        caller.close()
        time.sleep(0.05)
    finally:
        toy.open()
    wait_for(lambda: server.worker.running == 0)
    assert server.metric("sfumato_cancellations_total") == cancelled + 1


def test_a_full_queue_says_when_to_come_again() -> None:
    model = WatchedModel()
    with live(model, settings=Settings(limits=Limits(max_rows=2, queue=2, queue_share=1))) as server:
        model.gated = True
        first = {"recipe": {"expression": {"prompt": "3"}, "count": 2}, "background": True}
        assert server.client.post("/v1/recipes", json=first).status_code == 202
        model.gate.release(1)
        wait_for(lambda: server.worker.running == 1)
        assert server.client.post(
            "/v1/recipes", json=first | {"recipe": {"expression": {"prompt": "3"}}}
        ).is_success
        patient = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.RateLimitError, match="the queue is full") as full:
            patient.images.generate(prompt="3")
        assert int(full.value.response.headers["retry-after"]) >= 1
        assert "x-should-retry" not in full.value.response.headers
        model.open()


def test_before_the_models_are_there() -> None:
    going = threading.Event()

    def load() -> WatchedModel:
        going.wait(60)
        return WatchedModel()

    app = create_app({"toy": load})
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            assert httpx.get(f"{url}/healthz").text == "ok"
            assert httpx.get(f"{url}/readyz").status_code == 503
            refused = httpx.post(f"{url}/v1/images/generations", json={"prompt": "3"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            going.set()
            wait_for(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        finally:
            going.set()
            server.should_exit = True
            thread.join(60)


def test_the_metrics_count(client: openai.OpenAI, server: Live) -> None:
    made = server.metric("sfumato_pictures_total")
    route = 'sfumato_requests_total{route="/v1/images/generations",status="200"}'
    answered = server.metric(route)
    client.images.generate(prompt="3", n=2)
    assert server.metric("sfumato_pictures_total") == made + 2
    assert server.metric(route) == answered + 1
    assert server.metric('sfumato_rows_per_forward_count{model="toy"}') > 0
    assert server.metric('sfumato_row_seconds{model="toy"}') > 0
    assert server.metric("sfumato_queue_pictures") == 0


def test_a_worker_that_is_stuck_is_not_ready() -> None:
    model = WatchedModel()
    with live(model, settings=Settings(beat_seconds=0.3)) as server:
        assert server.client.get("/readyz").status_code == 200
        model.gated = True
        server.client.post(
            "/v1/recipes", json={"recipe": {"expression": {"prompt": "3"}}, "background": True}
        )
        wait_for(lambda: server.client.get("/readyz").status_code == 503)
        assert server.client.get("/healthz").status_code == 200
        model.open()


# ------------------------------------------------------------------------------------------ bad input


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int = 50_000) -> bytes:
    """A few kilobytes that would decode to gigabytes."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (side + 1) * 20)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def long_gif() -> bytes:
    frames = [Image.new("L", (4, 4), i % 256) for i in range(300)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:] * 34)
    return file.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/x"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
BAD_PICTURES = {
    "50,000 x 50,000": (huge_png(), "pixels"),
    "truncated": (png()[:45], "damaged or cut short"),
    "SVG named png": (SVG, "is SVG"),
    "EPS named png": (EPS, "not a picture"),
    "empty": (b"", "empty"),
    "10,000 frames": (long_gif(), "is animated"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_pictures_that_are_refused(server: Live, name: str) -> None:
    data, message = BAD_PICTURES[name]
    for path, files in (
        ("/v1/images/edits", {"image": ("x.png", data, "image/png")}),
        ("/v1/images/edits", {"image": ("x.png", png()), "mask": ("x.png", data, "image/png")}),
        ("/v1/images/variations", {"image": ("x.png", data, "image/png")}),
    ):
        fields = {} if path.endswith("variations") else {"prompt": "3"}
        refused = server.client.post(path, data=fields, files=files)
        assert refused.status_code == 400, refused.text
        assert message in refused.json()["error"]["message"]
    given = {"mine": {"b64": base64.b64encode(data).decode()}}
    recipe = {"expression": {"prompt": "3"}, "start": "mine"}
    refused = server.client.post("/v1/recipes", json={"recipe": recipe, "pictures": given})
    assert refused.status_code == 400
    healthy(server)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (png(half_transparent((SIDE, SIDE + 2))), "give a mask of the picture's size"),
        (png(Image.new("L", (SIDE, SIDE))), "no alpha channel"),
        (png(Image.new("RGBA", (SIDE, SIDE), "red")), "edits nothing"),
    ],
)
def test_masks_that_are_refused(server: Live, mask: bytes, message: str) -> None:
    refused = server.client.post(
        "/v1/images/edits", data={"prompt": "3"}, files={"image": png(), "mask": mask}
    )
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "mask")
    assert message in refused.json()["error"]["message"]
    two = [("image[]", png()), ("image[]", png()), ("mask", png(half_transparent()))]
    refused = server.client.post("/v1/images/edits", data={"prompt": "3"}, files=two)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "mask")


BAD_JSON: dict[str, Any] = {
    "size 1e9x1": ({"size": "1e9x1"}, "size"),
    "size 0x0": ({"size": "0x0"}, "size"),
    "size -8x8": ({"size": "-8x8"}, "size"),
    "size 1024x": ({"size": "1024x"}, "size"),
    "size of other digits": ({"size": "١٦x١٦"}, "size"),
    "n 0": ({"n": 0}, "n"),
    "n 11": ({"n": 11}, "n"),
    "n 10^9": ({"n": 10**9}, "n"),
    "steps 10^9": ({"num_inference_steps": 10**9}, "num_inference_steps"),
    "seed 2^64": ({"seed": 2**64}, "seed"),
    "seed -1": ({"seed": -1}, "seed"),
    "guidance 10^9": ({"guidance_scale": 1e9}, "guidance_scale"),
    "no prompt": ({"prompt": None}, "prompt"),
    "empty prompt": ({"prompt": ""}, "prompt"),
    "prompt of 40,000": ({"prompt": "a" * 40_000}, "prompt"),
    "unknown solver": ({"solver": "magic"}, "solver"),
    "strength without a picture": ({"strength": 0.5}, "strength"),
    "negative prompt without guidance": ({"negative_prompt": "1", "guidance_scale": 1}, "negative_prompt"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_values_that_are_refused(server: Live, name: str) -> None:
    change, param = BAD_JSON[name]
    refused = server.client.post("/v1/images/generations", json={"prompt": "3"} | change)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["param"] == param
    assert param in error["message"]
    assert len(error["message"]) < 300
    if name.startswith("n "):
        refused = server.client.post(
            "/v1/images/edits", data={"prompt": "3"} | change, files={"image": png()}
        )
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "guidance NaN": (b'{"prompt": "3", "guidance_scale": NaN}', 400, "invalid_json"),
    "guidance 1e999": (b'{"prompt": "3", "guidance_scale": 1e999}', 400, "invalid_json"),
    "10 MB prompt": (json.dumps({"prompt": "a" * 10_000_000}).encode(), 413, "too_large"),
    "lone surrogate": (b'{"prompt": "\\ud800"}', 400, "invalid_json"),
    "surrogate as a name": (b'{"prompt": "3", "\\udfff": 1}', 400, "invalid_json"),
    "number of 10,000 digits": (b'{"prompt": "3", "seed": ' + b"9" * 10_000 + b"}", 400, "invalid_json"),
    "deep": (b"[" * 100_000, 400, "invalid_json"),
    "a list": (b"[]", 400, "invalid_value"),
    "nothing": (b"", 400, "missing_parameter"),
    "latin-1": (b'{"prompt": "\xe9"}', 400, "invalid_json"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bodies_that_are_refused(server: Live, name: str) -> None:
    body, status, code = BAD_BODIES[name]
    for path in ("/v1/images/generations", "/v1/recipes"):
        if status == 413 and path == "/v1/recipes":  # it may carry pictures
            continue
        refused = server.client.post(path, content=body, headers={"content-type": "application/json"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), refused.text
    healthy(server)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_json_is_called_json_and_a_form_a_form(server: Live, kind: str) -> None:
    refused = server.client.post(
        "/v1/images/generations", content=b'{"prompt": "3"}', headers={"content-type": kind}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "content_type")
    refused = server.client.post("/v1/images/edits", content=b"{}", headers={"content-type": kind})
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "content_type")


def multipart(parts: bytes) -> dict[str, Any]:
    return {"content": parts, "headers": {"content-type": "multipart/form-data; boundary=xyz"}}


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"


END = b"--xyz--\r\n"
ENDLESS = b"--xyz\r\n" + b"".join(b"X-Header-%d: a\r\n" % i for i in range(20_000))
BAD_FORMS = {
    "10^5 parts": b"".join(part(f"f{i}", b"") for i in range(100_000)) + END,
    "10^5 files": b"".join(part("image", b"x", "x.png") for i in range(100_000)) + END,
    "endless headers": ENDLESS,
    "a header without end": b"--xyz\r\nX-Header: " + b"a" * 1_000_000,
    "no end": part("prompt", b"3") + part("image", png(), "x.png"),
    "a field twice": part("prompt", b"3") * 2 + part("image", png(), "x.png") + END,
    "a file for a field": part("prompt", b"3", "p.txt") + part("image", png(), "x.png") + END,
    "an unknown file": part("prompt", b"3")
    + part("image", png(), "x.png")
    + part("extra", png(), "x.png")
    + END,
    "an unknown field": part("prompt", b"3") + part("speed", b"3") + part("image", png(), "x.png") + END,
    "a huge field": part("prompt", b"a" * 1_000_000) + part("image", png(), "x.png") + END,
    "no image": part("prompt", b"3") + END,
    "17 images": part("prompt", b"3") + part("image[]", png(), "x.png") * 17 + END,
    "n NaN": part("prompt", b"3") + part("n", b"NaN") + part("image", png(), "x.png") + END,
    "not a form": b"hello",
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_forms_that_are_refused(server: Live, name: str) -> None:
    refused = server.client.post("/v1/images/edits", **multipart(BAD_FORMS[name]))
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["message"]
    healthy(server)


@pytest.mark.parametrize("filename", ["../../x.png", "a\0b.png", "x" * 3_000 + ".png", "\\\\host\\x.png", ""])
def test_names_of_files_mean_nothing(server: Live, filename: str, tmp_path: Path) -> None:
    form = part("prompt", b"3") + part("image", png(), filename) + END
    answer = server.client.post("/v1/images/edits", **multipart(form))
    assert answer.status_code in {200, 400}, answer.text
    too_long = part("prompt", b"3") + part("image", png(), "x" * 5_000) + END
    assert server.client.post("/v1/images/edits", **multipart(too_long)).status_code == 400
    for name in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "a%00b", "x" * 5000):
        assert server.client.get(f"/v1/files/{name}").status_code == 404
    assert not list(tmp_path.iterdir())


def test_a_body_over_the_limit_ends_where_the_limit_is(server: Live) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"a" * 100_000

    try:
        refused = server.client.post(
            "/v1/images/edits",
            content=endless(),
            headers={"content-type": "multipart/form-data; boundary=xyz"},
        )
        assert refused.status_code in {400, 413}
    except httpx.TransportError:
        pass  # the connection was closed before all of it was sent
    healthy(server)


def test_a_slow_body_is_not_waited_for(server: Live) -> None:
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as caller:
        caller.sendall(
            f"POST /v1/images/generations HTTP/1.1\r\nHost: {server.host}\r\n"
            "Content-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        answer = caller.recv(4096)
    assert b" 408 " in answer.splitlines()[0]
    healthy(server)


def healthy(server: Live) -> None:
    """Nothing is left of what was refused."""
    assert server.worker.running == server.worker.queued == 0
    assert server.client.get("/readyz").status_code == 200


# ------------------------------------------------------------------------------------------- security


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example"}, "host"),
        ({"host": "127.0.0.1.evil.example:80"}, "host"),
        ({"origin": "http://evil.example"}, "origin"),
        ({"origin": "null"}, "origin"),
        ({"origin": "http://127.0.0.1:1"}, "origin"),
    ],
)
def test_foreign_pages_and_names_are_refused(server: Live, headers: dict[str, str], code: str) -> None:
    for method, path in (("POST", "/v1/images/generations"), ("GET", "/v1/models"), ("GET", "/healthz")):
        refused = server.client.request(method, path, json={"prompt": "3"}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, code)
        assert "access-control-allow-origin" not in refused.headers


def test_its_own_page_may_ask(server: Live) -> None:
    assert server.client.get("/v1/models", headers={"origin": server.url}).is_success
    assert server.client.get(
        "/v1/models", headers={"host": server.host.replace("127.0.0.1", "localhost")}
    ).is_success


def test_named_origins_may_ask() -> None:
    page = "https://page.example"
    with live(WatchedModel(), settings=Settings(origins=(page,), api_key=KEY)) as server:
        asked = {"origin": page, "access-control-request-method": "POST"}
        allowed = server.client.options("/v1/images/generations", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == page
        refused = server.client.options("/v1/models", headers=asked | {"origin": "https://other.example"})
        assert refused.status_code == 403
        got = server.client.get("/v1/models", headers={"origin": page})
        assert got.headers["access-control-allow-origin"] == page


def test_an_api_key_is_asked_for() -> None:
    with live(WatchedModel(), settings=Settings(api_key=KEY)) as server:
        for path in ("/v1/models", "/metrics", "/openapi.json", "/anything"):
            refused = httpx.get(f"{server.url}{path}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx.get(f"{server.url}/healthz").is_success
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong").models.list()
        keyed = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY)
        assert keyed.images.generate(prompt="3").data
        made = keyed.images.generate(prompt="3", response_format="url").data
        assert made is not None
        assert httpx.get(made[0].url or "").is_success  # its name is the key


def test_a_public_address_needs_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(UsageError, match="--api-key-file"):
            Settings(host=host)
        assert Settings(host=host, api_key=KEY).allowed_hosts is None
    with pytest.raises(UsageError, match="16"):
        Settings(api_key="short")
    assert KEY not in repr(Settings(api_key=KEY))
    assert Settings().allowed_hosts == {"127.0.0.1", "localhost", "[::1]"}


def test_unknown_paths_and_methods_are_errors_of_the_same_form(server: Live) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/v1/models", 405)):
        refused = server.client.request(method, path)
        assert refused.status_code == status
        assert set(refused.json()["error"]) == {"message", "type", "param", "code"}


def test_what_is_kept_is_bounded() -> None:
    store = Store(max_bytes=100, seconds=60)
    names = [store.put(File(b"a" * 30, "image/png"), ".png") for _ in range(5)]
    assert [store.file(name) is not None for name in names] == [False, False, True, True, True]
    assert store.bytes == 90
    late = Store(max_bytes=100, seconds=0.0)
    name = late.put(File(b"a", "image/png"), ".png")
    time.sleep(0.01)
    assert late.file(name) is None


def test_a_picture_saved_here_is_a_recipe_there(server: Live, tmp_path: Path) -> None:
    """What a PNG of the library carries can be posted as it is."""
    alone = sample(WatchedModel(), "5", seed=11)
    alone.save(tmp_path / "x.png")
    metadata = read_metadata(tmp_path / "x.png")
    assert metadata is not None
    info = server.client.post("/v1/recipes", json={"recipe": metadata["recipe"]}).json()
    (tmp_path / "y.png").write_bytes(base64.b64decode(info["data"][0]["b64_json"]))
    near(info["data"][0]["b64_json"], alone.x[0])
    again = read_metadata(tmp_path / "y.png")
    assert again is not None
    assert again["recipe"] == metadata["recipe"]

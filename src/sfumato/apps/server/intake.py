"""What a request asks, as the recipes that the worker runs. Every picture that comes in is untrusted."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sfumato.apps.server.errors import ApiError, refusal
from sfumato.apps.server.schemas import Edit, Generate, GivenPicture, RunRecipe, Variation
from sfumato.apps.server.settings import Settings
from sfumato.core.content import Content
from sfumato.core.expression import Expression, prompt, unconditional
from sfumato.core.guidance import Clipped, Guided
from sfumato.core.notation import from_json, to_json
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.pictures import picture_size, read_mask, read_picture
from sfumato.recipe import parse_recipe
from sfumato.sampling import make_recipe
from sfumato.serving import Part, Worker
from sfumato.techniques import Edit as EditOf
from sfumato.techniques import inpaint, translate

TRANSLATED, VARIED = 0.7, 0.5  # how much is forgotten when nobody says
LARGEST_FACTOR = 64
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Recipes to run, and by which whole factor their pictures are enlarged."""

    parts: Sequence[Part]
    enlarge: int


def find_model(worker: Worker, name: str | None) -> Model:
    """The model of this name, the first one without; ApiError where there is none."""
    name = name or worker.names[0]
    if not worker.models:
        raise ApiError(503, "the models are being loaded", code="not_ready", headers={"retry-after": "5"})
    if name not in worker.models:
        raise ApiError(
            404,
            f"there is no such model; there are {', '.join(worker.names)}",
            param="model",
            code="model_not_found",
        )
    return worker.models[name]


def factor(size: str | None, model: Model) -> int:
    """By which whole factor a size, WIDTHxHEIGHT or auto, enlarges the model's own; else ApiError."""
    _, height, width = model.shape
    if size is None or size == "auto":
        return 1
    found = _SIZE.fullmatch(size)
    if found is not None:
        w, h = (int(side) for side in found.groups())
        times = w // width
        if 1 <= times <= LARGEST_FACTOR and (w, h) == (times * width, times * height):
            return times
    raise ApiError(
        400,
        f"size: {model.name} makes {width}x{height}; give auto or that, or up to {LARGEST_FACTOR} times it",
        param="size",
        code="invalid_value",
    )


def generation(worker: Worker, asked: Generate) -> Order:
    """Pictures of a prompt."""
    model = find_model(worker, asked.model)
    times = factor(asked.size, model)
    return Order(parts=[_part(model, asked, _worded(asked, model), _scale(asked))], enlarge=times)


def edit(worker: Worker, asked: Edit, files: Mapping[str, Sequence[bytes]], settings: Settings) -> Order:
    """Each of the pictures changed: inside the mask where there is one, else as a whole."""
    model = find_model(worker, asked.model)
    times = factor(asked.size, model)
    pictures, masks = _files(files, "image", "mask")
    if not pictures:
        raise ApiError(400, "image is missing", param="image", code="missing_parameter")
    if len(masks) > 1 or (masks and len(pictures) > 1):
        raise ApiError(400, "mask: one mask goes with one image", param="mask", code="invalid_value")
    if len(pictures) * (asked.n or 1) > 10:
        raise ApiError(400, "n: at most 10 pictures come of one request", param="n", code="invalid_value")
    what, scale = _worded(asked, model), _scale(asked)
    parts = []
    for data in pictures:
        x = _picture(data, model, settings)
        if masks:
            mask = _mask(masks[0], data, model, settings)
            change = inpaint(x, mask, what, strength=asked.strength or 1.0)
        else:
            change = translate(x, what, strength=asked.strength or TRANSLATED)
        parts.append(_part(model, asked, change, scale))
    return Order(parts=parts, enlarge=times)


def variation(
    worker: Worker, asked: Variation, files: Mapping[str, Sequence[bytes]], settings: Settings
) -> Order:
    """Pictures near a picture."""
    model = find_model(worker, asked.model)
    times = factor(asked.size, model)
    pictures, _ = _files(files, "image")
    if len(pictures) != 1:
        raise ApiError(400, "image: one picture is varied", param="image", code="invalid_value")
    x = _picture(pictures[0], model, settings)
    change = translate(x, unconditional(), strength=asked.strength or VARIED)
    return Order(parts=[_part(model, asked, change, 1.0)], enlarge=times)


def recipe(worker: Worker, asked: RunRecipe, settings: Settings) -> Order:
    """A recipe; what it leaves out is the model's default, guidance as well."""
    data = dict(asked.recipe)
    model = find_model(worker, _text(data.get("model")))
    data["model"] = model.name
    if data.setdefault("weights", model.sha256) != model.sha256:
        raise ApiError(
            400,
            "weights: the recipe is of other weights than the model here",
            param="weights",
            code="invalid_value",
        )
    size = _canvas(data.get("size", model.shape[1:]), settings)
    inputs: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for name, given in asked.pictures.items():
        held = Content(_given(given, size, model, settings))
        inputs[held.sha256], names[name] = held.tensor, held.sha256
    data = _named(data, names)
    if "expression" not in data:
        raise ApiError(400, "recipe: expression is missing", param="recipe", code="missing_parameter")
    try:
        e = from_json(data["expression"], inputs)
        if not any(isinstance(node, Guided | Clipped) for node in e.walk()):
            e = model.defaults.with_defaults(e)
        defaults, _ = make_recipe(model, e, size=size)
        own = defaults.plain()
        data["dtype"] = own["dtype"]  # what the networks here are computed in
        if "solver" in data:
            own["options"] = {}
        whole = parse_recipe({**own, **data, "expression": to_json(e), "size": size})
    except (UsageError, RecursionError) as error:
        deep = UsageError("the recipe is too deep") if isinstance(error, RecursionError) else error
        raise refusal(deep, "recipe") from None
    return Order(parts=[Part(recipe=whole, inputs=inputs)], enlarge=asked.enlarge)


# --------------------------------------------------------------------------------------------- pieces


def _worded(asked: Generate, model: Model) -> Expression:
    e = prompt(asked.prompt)
    if asked.negative_prompt is None:
        return e
    scale = model.defaults.guidance if asked.guidance_scale is None else asked.guidance_scale
    if scale == 1:
        raise ApiError(
            400,
            "negative_prompt needs a guidance_scale other than 1",
            param="negative_prompt",
            code="invalid_value",
        )
    return e.guided(scale, negative=asked.negative_prompt)


def _scale(asked: Generate) -> float | None:
    """The scale that is still to be applied: with a negative prompt it has been."""
    return asked.guidance_scale if asked.negative_prompt is None else None


def _part(model: Model, asked: Generate | Variation, what: Expression | EditOf, scale: float | None) -> Part:
    made, inputs = make_recipe(
        model,
        what,
        seed=asked.seed,
        count=asked.n or 1,
        steps=asked.num_inference_steps,
        solver=asked.solver,
        guidance=scale,
    )
    return Part(recipe=made, inputs=inputs)


def _files(files: Mapping[str, Sequence[bytes]], *names: str) -> tuple[Sequence[bytes], Sequence[bytes]]:
    for name in files:
        if name not in names:
            raise ApiError(400, "a file under a name that is not known here", code="unknown_parameter")
    return files.get("image", ()), files.get("mask", ())


def _checked(data: bytes, role: str, settings: Settings) -> tuple[int, int]:
    """(H, W) of an uploaded picture whose pixels are few enough to decode."""
    try:
        height, width = picture_size(data)
    except UsageError as error:
        raise refusal(error, role) from None
    if height * width > settings.upload_pixels:
        raise ApiError(
            400,
            f"{role}: the picture has more than {settings.upload_pixels:,} pixels: make it smaller",
            param=role,
            code="invalid_value",
        )
    return height, width


def _picture(data: bytes, model: Model, settings: Settings, size: tuple[int, int] | None = None) -> Tensor:
    """An uploaded picture, (1, C, H, W), cropped and resized to the model's size."""
    _checked(data, "image", settings)
    channels, height, width = model.shape
    try:
        return read_picture(data, size=size or (height, width), channels=1 if channels == 1 else 3)
    except UsageError as error:
        raise refusal(error, "image") from None


def _mask(data: bytes, picture: bytes, model: Model, settings: Settings) -> Tensor:
    """An uploaded mask, (1, 1, H, W): transparent is edited, as the API has it."""
    _checked(data, "mask", settings)
    size = _checked(picture, "image", settings)
    try:
        return read_mask(data, convention="alpha", size=size, resize=(model.shape[1], model.shape[2]))
    except UsageError as error:
        raise refusal(error, "mask") from None


def _given(given: GivenPicture, size: tuple[int, int], model: Model, settings: Settings) -> Tensor:
    try:
        data = base64.b64decode(given.b64, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "pictures: b64 is not base64", param="pictures", code="invalid_value") from None
    if given.kind == "picture":
        return _picture(data, model, settings, size)
    own = _checked(data, "mask", settings)
    try:
        return read_mask(data, convention=given.convention, size=own, resize=size)
    except UsageError as error:
        raise refusal(error, "mask") from None


def _canvas(size: Any, settings: Settings) -> tuple[int, int]:
    """A recipe's size, (H, W)."""
    sides = list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
        raise ApiError(400, "size: a recipe has [height, width]", param="size", code="invalid_value")
    if sides[0] * sides[1] > settings.canvas_pixels:
        raise ApiError(
            400,
            f"size: at most {settings.canvas_pixels:,} pixels are made",
            param="size",
            code="invalid_value",
        )
    return (sides[0], sides[1])


def _named(data: Any, names: Mapping[str, str], depth: int = 0) -> Any:
    """The recipe with the hash of each picture where its name stood."""
    if depth > 100:
        raise ApiError(400, "recipe: too deep", param="recipe", code="invalid_value")
    if isinstance(data, list):
        return [_named(item, names, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    return {
        key: names.get(value, value)
        if key in ("known", "mask", "start", "keep", "low") and isinstance(value, str)
        else _named(value, names, depth + 1)
        for key, value in data.items()
    }


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ApiError(400, "model: a name is a text", param="model", code="invalid_value")
    return value

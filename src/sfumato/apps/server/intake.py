"""From requests to the recipes that the worker runs. Every uploaded picture is untrusted."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sfumato.apps.server.errors import ApiError, invalid, refusal
from sfumato.apps.server.schemas import Edit, Generate, InputPicture, RunRecipe, Variation
from sfumato.apps.server.settings import Settings
from sfumato.core.expression import Clipped, Expression, Guided, prompt, unconditional
from sfumato.core.hashed import HashedTensor
from sfumato.core.notation import from_json, to_json
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.pictures import picture_size, read_mask, read_picture
from sfumato.recipe import parse_recipe
from sfumato.sampling import make_recipe
from sfumato.serving import Part, Worker
from sfumato.techniques import Edit as EditOf
from sfumato.techniques import inpaint, translate

TRANSLATED, VARIED = 0.7, 0.5  # default strengths
LARGEST_FACTOR = 64
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Recipes to run, and the whole factor that enlarges their pictures."""

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
    """The whole factor between a size, WIDTHxHEIGHT or auto, and the model's; else ApiError."""
    _, height, width = model.shape
    if size is None or size == "auto":
        return 1
    found = _SIZE.fullmatch(size)
    if found is not None:
        w, h = (int(side) for side in found.groups())
        times = w // width
        if 1 <= times <= LARGEST_FACTOR and (w, h) == (times * width, times * height):
            return times
    raise invalid(
        "size", f"{model.name} makes {width}x{height}; give auto or that, or up to {LARGEST_FACTOR} times it"
    )


def generation(worker: Worker, body: Generate) -> Order:
    """Pictures of a prompt."""
    model = find_model(worker, body.model)
    times = factor(body.size, model)
    return Order(parts=[_part(model, body, _expression_of(body, model), _scale(body))], enlarge=times)


def edit(worker: Worker, body: Edit, files: Mapping[str, Sequence[bytes]], settings: Settings) -> Order:
    """Each picture changed: inside the mask if there is one, else as a whole."""
    model = find_model(worker, body.model)
    times = factor(body.size, model)
    pictures, masks = _files(files, "image", "mask")
    if not pictures:
        raise ApiError(400, "image is missing", param="image", code="missing_parameter")
    if len(masks) > 1 or (masks and len(pictures) > 1):
        raise invalid("mask", "give one mask with one image")
    if len(pictures) * (body.n or 1) > 10:
        raise invalid("n", "one request makes at most 10 pictures")
    what, scale = _expression_of(body, model), _scale(body)
    parts = []
    for data in pictures:
        x = _picture(data, model, settings)
        if masks:
            mask = _mask(masks[0], data, model, settings)
            change = inpaint(x, mask, what, strength=body.strength or 1.0)
        else:
            change = translate(x, what, strength=body.strength or TRANSLATED)
        parts.append(_part(model, body, change, scale))
    return Order(parts=parts, enlarge=times)


def variation(
    worker: Worker, body: Variation, files: Mapping[str, Sequence[bytes]], settings: Settings
) -> Order:
    """Pictures near a picture."""
    model = find_model(worker, body.model)
    times = factor(body.size, model)
    pictures, _ = _files(files, "image")
    if len(pictures) != 1:
        raise invalid("image", "give one image")
    x = _picture(pictures[0], model, settings)
    change = translate(x, unconditional(), strength=body.strength or VARIED)
    return Order(parts=[_part(model, body, change, 1.0)], enlarge=times)


def recipe(worker: Worker, body: RunRecipe, settings: Settings) -> Order:
    """A recipe; a field that it leaves out has the model's default, guidance as well."""
    data = dict(body.recipe)
    model = find_model(worker, _text(data.get("model")))
    data["model"] = model.name
    if data.setdefault("weights", model.sha256) != model.sha256:
        raise invalid("weights", "the recipe was made with other weights than this model has")
    size = _canvas(data.get("size", model.shape[1:]), settings)
    inputs: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for name, given in body.pictures.items():
        held = HashedTensor(_given(given, size, model, settings))
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
        deep = UsageError("the recipe is nested too deep") if isinstance(error, RecursionError) else error
        raise refusal(deep, "recipe") from None
    return Order(parts=[Part(recipe=whole, inputs=inputs)], enlarge=body.enlarge)


# --------------------------------------------------------------------------------------------- pieces


def _expression_of(body: Generate, model: Model) -> Expression:
    e = prompt(body.prompt)
    if body.negative_prompt is None:
        return e
    scale = model.defaults.guidance if body.guidance_scale is None else body.guidance_scale
    if scale == 1:
        raise invalid("negative_prompt", "needs a guidance_scale other than 1")
    return e.guided(scale, negative=body.negative_prompt)


def _scale(body: Generate) -> float | None:
    """The guidance scale of the run; None where the expression has its guidance already."""
    return body.guidance_scale if body.negative_prompt is None else None


def _part(model: Model, body: Generate | Variation, what: Expression | EditOf, scale: float | None) -> Part:
    made, inputs = make_recipe(
        model,
        what,
        seed=body.seed,
        count=body.n or 1,
        steps=body.num_inference_steps,
        solver=body.solver,
        guidance=scale,
    )
    return Part(recipe=made, inputs=inputs)


def _files(files: Mapping[str, Sequence[bytes]], *names: str) -> tuple[Sequence[bytes], Sequence[bytes]]:
    for name in files:
        if name not in names:
            raise ApiError(400, "files: only image and mask are known", code="unknown_parameter")
    return files.get("image", ()), files.get("mask", ())


@contextmanager
def _refused(param: str) -> Iterator[None]:
    """UsageError becomes the refusal of this field."""
    try:
        yield
    except UsageError as error:
        raise refusal(error, param) from None


def _checked(data: bytes, role: str, settings: Settings) -> tuple[int, int]:
    """(H, W) of an uploaded picture whose pixels are few enough to decode."""
    with _refused(role):
        height, width = picture_size(data)
    if height * width > settings.upload_pixels:
        raise invalid(role, f"the picture has more than {settings.upload_pixels:,} pixels: make it smaller")
    return height, width


def _picture(data: bytes, model: Model, settings: Settings, size: tuple[int, int] | None = None) -> Tensor:
    """An uploaded picture, (1, C, H, W), cropped and resized to the model's size."""
    _checked(data, "image", settings)
    channels, height, width = model.shape
    with _refused("image"):
        return read_picture(data, size=size or (height, width), channels=1 if channels == 1 else 3)


def _mask(data: bytes, picture: bytes, model: Model, settings: Settings) -> Tensor:
    """An uploaded mask, (1, 1, H, W): transparent is edited, as the API has it."""
    _checked(data, "mask", settings)
    size = _checked(picture, "image", settings)
    with _refused("mask"):
        return read_mask(data, convention="alpha", size=size, resize=(model.shape[1], model.shape[2]))


def _given(given: InputPicture, size: tuple[int, int], model: Model, settings: Settings) -> Tensor:
    try:
        data = base64.b64decode(given.b64, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("pictures", "b64 is not base64") from None
    if given.kind == "picture":
        return _picture(data, model, settings, size)
    own = _checked(data, "mask", settings)
    with _refused("mask"):
        return read_mask(data, convention=given.convention, size=own, resize=size)


def _canvas(size: Any, settings: Settings) -> tuple[int, int]:
    """A recipe's size, (H, W)."""
    sides = list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
        raise invalid("size", "a recipe has [height, width]")
    if sides[0] * sides[1] > settings.canvas_pixels:
        raise invalid("size", f"at most {settings.canvas_pixels:,} pixels are made")
    return (sides[0], sides[1])


def _named(data: Any, names: Mapping[str, str], depth: int = 0) -> Any:
    """The recipe with the hash of each picture instead of its name."""
    if depth > 100:
        raise invalid("recipe", "it is nested too deep")
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
        raise invalid("model", "give a name")
    return value

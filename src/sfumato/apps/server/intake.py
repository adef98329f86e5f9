"""From requests to the recipes that the worker runs. Every uploaded picture is untrusted."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sfumato.apps.server.errors import ApiError, invalid, refusal
from sfumato.apps.server.schemas import Delivery, Edit, Generate, ImageRequest, RunRecipe, Variation
from sfumato.apps.server.settings import Settings
from sfumato.core.expression import Clipped, Expression, Guided, prompt, unconditional
from sfumato.core.hashed import HashedTensor
from sfumato.core.notation import from_json, to_json
from sfumato.errors import UsageError
from sfumato.models.cascade import Stages, size_made
from sfumato.models.understanding import remarks_on
from sfumato.pictures import picture_size, read_mask, read_picture
from sfumato.recipe import parse_recipe
from sfumato.sampling import make_recipe
from sfumato.serving import LoadingError, Part, Worker
from sfumato.techniques import Edit as Change
from sfumato.techniques import inpaint, translate

TRANSLATED, VARIED = 0.7, 0.5  # default strengths
LARGEST_FACTOR = 64
MAX_PICTURES = 10  # of one request for images
MAX_DEPTH = 100  # of a recipe

Files = Mapping[str, Sequence[bytes]]  # the uploaded files by the names of their fields


@dataclass(frozen=True, kw_only=True)
class Order:
    """Recipes to run, the whole factor that enlarges their pictures, and how these are returned.

    warnings: what the model did not understand, and what was done to uploads.
    """

    parts: Sequence[Part]
    enlarge: int
    delivery: Delivery
    warnings: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.delivery.partial_images and sum(part.recipe.count for part in self.parts) > 1:
            raise invalid("partial_images", "a preview does not say which picture it shows: set n to 1")


def find_model(worker: Worker, name: str | None) -> Stages:
    """The model of this name, the first one without; an error where there is none, or none yet."""
    name = name or worker.names[0]
    if not worker.models:
        raise LoadingError("the models are being loaded")
    if name not in worker.models:
        message = f"there is no such model; there are {', '.join(worker.names)}"
        raise ApiError(404, message, param="model", code="model_not_found")
    return worker.models[name]


def factor(size: str | None, model: Stages) -> int:
    """The whole factor between a size, WIDTHxHEIGHT or auto, and the model's; else ApiError."""
    if size is None or size == "auto":
        return 1
    _, height, width = model.shape
    for times in range(1, LARGEST_FACTOR + 1):
        if size == f"{times * width}x{times * height}":
            return times
    raise invalid(
        "size", f"{model.name} makes {width}x{height}; give auto or that, or up to {LARGEST_FACTOR} times it"
    )


def images(worker: Worker, body: ImageRequest, files: Files, settings: Settings) -> Order:
    """Pictures of a prompt, pictures that an edit makes of the uploaded ones, or variations of one."""
    model = find_model(worker, body.model)
    times = factor(body.size, model)
    if isinstance(body, Edit | Variation):
        _check_files(body, files)
    what, scale = _guided(body, model)
    parts = []
    for change in _changes(body, what, files, model, settings):
        recipe, inputs = make_recipe(
            model,
            change,
            seed=body.seed,
            count=body.n or 1,
            steps=body.num_inference_steps,
            solver=body.solver,
            guidance=scale,
        )
        parts.append(Part(recipe=recipe, inputs=inputs))
    warnings = [*remarks_on(model, what), *_reductions(files.get("image", ()), model)]
    return Order(parts=parts, enlarge=times, delivery=body, warnings=warnings)


def recipe(worker: Worker, body: RunRecipe, settings: Settings) -> Order:
    """A recipe; a field that it leaves out has the model's default, guidance as well."""
    model_name = body.recipe.get("model")
    if not isinstance(model_name, str | None):
        raise invalid("model", "give a name")
    model = find_model(worker, model_name)
    if body.recipe.get("weights", model.sha256) != model.sha256:
        raise invalid("weights", "the recipe was made with other weights than this model has")
    first, last = model.stages[0], model.stages[-1]
    size = _canvas(body.recipe.get("size", first.shape[1:]), settings)
    # pictures are given at the size of the last stage
    made = size if body.recipe.get("stages") == [] else size_made(last, first, size)
    inputs, names = dict[str, Tensor](), dict[str, str]()
    for name, given in body.pictures.items():
        try:
            data = base64.b64decode(given.b64, validate=True)
        except ValueError:
            raise invalid("pictures", "b64 is not base64") from None
        if given.kind == "picture":
            x = _picture(data, made, model, settings)
        else:
            with _uploaded("mask", data, settings) as of:
                x = read_mask(data, convention=given.convention, size=of, resize=made)
        held = HashedTensor(x)
        inputs[held.sha256], names[name] = held.tensor, held.sha256
    data = _with_hashes(body.recipe, names)
    if "expression" not in data:
        raise ApiError(400, "recipe: expression is missing", param="recipe", code="missing_parameter")
    try:
        e = from_json(data["expression"], inputs)
        if not any(isinstance(node, Guided | Clipped) for node in e.walk()):
            e = model.defaults.with_defaults(e)
        own = make_recipe(model, e, size=size)[0].plain()
        if "solver" in data:
            own["options"] = {}
        fixed = {"model": model.name, "dtype": own["dtype"], "expression": to_json(e), "size": size}
        whole = parse_recipe({**own, **data, **fixed})
    except (UsageError, RecursionError) as error:
        deep = UsageError("the recipe is nested too deep") if isinstance(error, RecursionError) else error
        raise refusal(deep, "recipe") from None
    parts = [Part(recipe=whole, inputs=inputs)]
    return Order(parts=parts, enlarge=body.enlarge, delivery=body, warnings=remarks_on(model, e))


# --------------------------------------------------------------------------------------------- pieces


def _guided(body: ImageRequest, model: Stages) -> tuple[Expression, float | None]:
    """What is drawn, and the guidance of the run; None where the expression has its guidance already."""
    if not isinstance(body, Generate):
        return unconditional(), 1.0
    e = prompt(body.prompt)
    if body.negative_prompt is None:
        return e, body.guidance_scale
    scale = model.defaults.guidance if body.guidance_scale is None else body.guidance_scale
    if scale == 1:
        raise invalid("negative_prompt", "needs a guidance_scale other than 1")
    between = model.defaults.guidance_between
    return e.guided(scale, negative=body.negative_prompt, between=between), None


def _check_files(body: Edit | Variation, files: Files) -> None:
    known = {"image", "mask"} if isinstance(body, Edit) else {"image"}
    if not files.keys() <= known:
        raise ApiError(400, "files: only image and mask are known", code="unknown_parameter")
    pictures, masks = len(files.get("image", ())), len(files.get("mask", ()))
    if isinstance(body, Variation) and pictures != 1:
        raise invalid("image", "give one image")
    if not pictures:
        raise ApiError(400, "image is missing", param="image", code="missing_parameter")
    if masks > 1 or (masks and pictures > 1):
        raise invalid("mask", "give one mask with one image")
    if pictures * (body.n or 1) > MAX_PICTURES:
        raise invalid("n", f"one request makes at most {MAX_PICTURES} pictures")


def _changes(
    body: ImageRequest, what: Expression, files: Files, model: Stages, settings: Settings
) -> Iterator[Expression | Change]:
    """What is drawn: the expression, or a change of each upload, inside the mask if there is one."""
    if not isinstance(body, Edit | Variation):
        yield what
        return
    size = (model.shape[1], model.shape[2])
    for data in files["image"]:
        x = _picture(data, size, model, settings)
        if "mask" in files:
            (mask,) = files["mask"]  # transparent is edited, as the API has it
            with _uploaded("mask", mask, settings):
                region = read_mask(mask, convention="alpha", size=picture_size(data), resize=size)
            yield inpaint(x, region, what, strength=body.strength or 1.0)
        else:
            default = TRANSLATED if isinstance(body, Edit) else VARIED
            yield translate(x, what, strength=body.strength or default)


def _reductions(uploads: Sequence[bytes], model: Stages) -> Iterator[str]:
    """What to say of each upload that has another size than the model's pictures."""
    _, height, width = model.shape
    for data in uploads:
        if (size := picture_size(data)) != (height, width):
            yield (
                f"the picture of {size[1]}x{size[0]} was cropped and resized to {width}x{height}, and so is "
                "what is answered"
            )


@contextmanager
def _uploaded(param: str, data: bytes, settings: Settings) -> Iterator[tuple[int, int]]:
    """The size (H, W) of an upload that is small enough to decode. A UsageError inside refuses its field."""
    try:
        height, width = picture_size(data)
        if height * width > (most := settings.upload_pixels):
            raise UsageError(f"{param}: the picture has more than {most:,} pixels: make it smaller")
        yield height, width
    except UsageError as error:
        raise refusal(error, param) from None


def _picture(data: bytes, size: tuple[int, int], model: Stages, settings: Settings) -> Tensor:
    """An uploaded picture, (1, C, H, W), cropped and resized to a size (H, W)."""
    with _uploaded("image", data, settings):
        return read_picture(data, size=size, channels=1 if model.shape[0] == 1 else 3)


def _canvas(size: Any, settings: Settings) -> tuple[int, int]:
    """A recipe's size, (H, W)."""
    sides = list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
        raise invalid("size", "a recipe has [height, width]")
    if sides[0] * sides[1] > settings.canvas_pixels:
        raise invalid("size", f"at most {settings.canvas_pixels:,} pixels are made")
    return (sides[0], sides[1])


def _with_hashes(data: Any, names: Mapping[str, str], depth: int = 0) -> Any:
    """The recipe with the hash of each picture instead of its name."""
    if depth > MAX_DEPTH:
        raise invalid("recipe", "it is nested too deep")
    if isinstance(data, list):
        return [_with_hashes(item, names, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    return {
        key: names.get(value, value)
        if key in ("known", "mask", "start", "keep", "low") and isinstance(value, str)
        else _with_hashes(value, names, depth + 1)
        for key, value in data.items()
    }

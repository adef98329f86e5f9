"""Pictures of the page as tensors: uploads, drawing pads, painted masks."""

from typing import Any, Literal

import numpy as np
from PIL import Image, ImageChops
from torch import Tensor

from sfumato.apps.studio.backend import Backend
from sfumato.errors import UsageError
from sfumato.models.cascade import Stages
from sfumato.pictures import read_mask, read_picture

PAD = 320  # pixels of a drawing pad's side
ROUNDING = 2  # grey levels that a browser may change


def blank_pad(backend: Backend, name: str | None) -> dict[str, Any]:
    """What a drawing pad begins with: white, or black where a model draws in white on black."""
    grey = bool(backend.worker.models) and backend.model(name).shape[0] == 1
    return pad_with(Image.new("RGBA", (PAD, PAD), "black" if grey else "white"))


def pad_with(image: Image.Image) -> dict[str, Any]:
    """The value of a drawing pad with this picture, on which nothing is drawn."""
    return {"background": image, "layers": [], "composite": image}


def drawing(value: Any, model: Stages) -> Tensor:
    """What a pad holds, (1, C, H, W) of the model's size."""
    composite = value.get("composite") if isinstance(value, dict) else value
    if composite is None:
        raise UsageError("draw something, or upload a picture")
    return read_image(composite, model)


def read_image(image: Image.Image, model: Stages) -> Tensor:
    """A picture of the page, (1, C, H, W) of the model's size; what the page enlarged by its own pixels."""
    _, height, width = model.shape
    small = image.resize((width, height), Image.Resampling.NEAREST)
    apart = ImageChops.difference(image, small.resize(image.size, Image.Resampling.NEAREST))
    source = small if int(np.asarray(apart).max()) <= ROUNDING else image
    return read_picture(source, size=(height, width), channels=1 if model.shape[0] == 1 else 3)


def masked(
    value: Any, uploaded: Any, convention: Literal["white", "alpha"], model: Stages
) -> tuple[Tensor, Tensor]:
    """The picture under the paint, and the mask (1, 1, H, W): the paint, or an uploaded one."""
    background = value.get("background") if isinstance(value, dict) else None
    if background is None:
        raise UsageError("upload a picture, or take the latest one, and paint over a part of it")
    size = (model.shape[1], model.shape[2])
    x = read_image(background, model)
    own = (background.height, background.width)
    if uploaded is not None:
        return x, read_mask(uploaded, convention=convention, size=own, resize=size)
    paint = Image.new("L", background.size, 0)
    for layer in value["layers"]:
        if layer is not None:
            alpha = layer.convert("RGBA").getchannel("A")
            paint.paste(255, (0, 0), alpha.resize(background.size).point(lambda level: 255 * (level > 64)))
    return x, read_mask(paint, size=own, resize=size)

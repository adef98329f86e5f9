"""The requests and answers of the images API, and of recipes.

The fields are those of the official client that have a meaning here, and a few that have the names of
diffusers. Any other field is refused by its name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sfumato.core.path import MAX_STEPS
from sfumato.core.solvers import SOLVERS
from sfumato.recipe import Real, Whole
from sfumato.serving import State

MAX_REQUEST_STEPS = min(1000, MAX_STEPS)


def _known_solver(name: str) -> str:
    if name not in SOLVERS:
        raise ValueError(f"there are {', '.join(SOLVERS)}")
    return name


SolverName = Annotated[str, Field(json_schema_extra={"enum": list(SOLVERS)}), AfterValidator(_known_solver)]
OutputFormat = Literal["png", "jpeg", "webp"]
UserName = Annotated[str | None, Field(max_length=512)]
Strength = Annotated[
    Real | None, Field(gt=0, le=1, description="How much of the picture is forgotten; 1 is all.")
]


class Delivery(BaseModel):
    """A request: how its pictures are returned, and to whom. A field that is null counts as left out."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    user: UserName = Field(default=None, description="The user; users take turns.")
    response_format: Literal["url", "b64_json"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Whole | None = Field(default=None, ge=0, le=100)
    stream: bool | None = None
    partial_images: Whole | None = Field(
        default=None, ge=0, le=3, description="Previews of one picture, while streaming."
    )

    @property
    def user_name(self) -> str:
        """The user, where the request names one."""
        return self.user or ""

    @model_validator(mode="after")
    def _no_field_without_effect(self) -> Delivery:
        if self.output_compression is not None and self.output_format not in ("jpeg", "webp"):
            raise ValueError("output_compression is for jpeg and webp: a png is exact")
        if self.partial_images and not self.stream:
            raise ValueError("partial_images needs stream")
        if self.stream and self.response_format == "url":
            raise ValueError("a stream carries its pictures: leave response_format out")
        return self


class ImageRequest(Delivery):
    """What all requests for images may say; the settings of the sampler have the names of diffusers."""

    model: str | None = Field(default=None, max_length=1000)
    n: Whole | None = Field(default=None, ge=1, le=10)
    size: str | None = Field(
        default=None,
        max_length=32,
        description="auto, the model's size, or a multiple of it: then every pixel is enlarged.",
    )
    safety_identifier: UserName = Field(default=None, description="As user.")
    quality: Literal["auto"] | None = None
    background: Literal["auto", "opaque"] | None = None
    num_inference_steps: Whole | None = Field(default=None, ge=1, le=MAX_REQUEST_STEPS)
    solver: SolverName | None = None
    seed: Whole | None = Field(
        default=None, ge=0, le=2**64 - 1, description="Of the first picture; picture i has seed + i."
    )

    @property
    def user_name(self) -> str:
        return self.safety_identifier or super().user_name


class Generate(ImageRequest):
    """Pictures of a prompt."""

    prompt: str = Field(min_length=1, max_length=32_000)
    negative_prompt: str | None = Field(default=None, max_length=32_000)
    guidance_scale: Real | None = Field(default=None, ge=0, le=1000, description="1 is off.")


class Edit(Generate):
    """Pictures made from pictures; the files are `image` (several: `image[]`) and `mask`."""

    strength: Strength = None


class Variation(ImageRequest):
    """Variations of a picture, the file `image`."""

    strength: Strength = None


class InputPicture(BaseModel):
    """A picture that a recipe names."""

    model_config = ConfigDict(extra="forbid")

    b64: str = Field(description="A PNG, JPEG or WebP file in base64.")
    kind: Literal["picture", "mask"] = "picture"
    convention: Literal["white", "alpha"] = Field(
        default="white", description="What marks the pixels to be made."
    )


class RunRecipe(Delivery):
    """A recipe and the pictures that it names: by their sha256, or by any other name."""

    recipe: dict[str, Any] = Field(
        description="As pictures carry it; a field that is left out has the model's default.",
        examples=[{"model": "digits", "expression": {"prompt": "7"}, "count": 2}],
    )
    pictures: dict[str, InputPicture] = Field(default={}, max_length=16)
    enlarge: Whole = Field(default=1, ge=1, le=16)
    background: bool = Field(
        default=False, description="Answer at once; GET /v1/jobs/ID says how the job stands."
    )

    @model_validator(mode="after")
    def _one_way_to_wait(self) -> RunRecipe:
        if self.background and self.stream:
            raise ValueError("background and stream do not go together")
        return self


# ---------------------------------------------------------------------------------------------- answers


class Image(BaseModel):
    """One picture."""

    b64_json: str | None = None
    url: str | None = None


class TokenDetails(BaseModel):
    """Always 0."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Tokens: local models count none."""

    input_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens: int = 0
    total_tokens: int = 0


class Images(BaseModel):
    """The pictures of a request."""

    created: int
    data: list[Image]
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    size: str
    usage: Usage = Usage()


class ModelCard(BaseModel):
    """A model; beyond the API: its class names and the size of its pictures."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "sfumato"
    size: str
    class_names: list[str]


class ModelList(BaseModel):
    """The models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class JobInfo(BaseModel):
    """Where a job stands."""

    id: str
    object: Literal["job"] = "job"
    created: int
    status: State
    progress: float
    seconds_left: float
    recipes: list[dict[str, Any]]
    data: list[Image] | None = None
    error: dict[str, Any] | None = None

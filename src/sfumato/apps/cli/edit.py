"""Commands that make pictures from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from typer import Argument, Option

from sfumato.apps.cli import checks
from sfumato.apps.cli.inputs import fitting
from sfumato.apps.cli.make_pictures import make
from sfumato.apps.cli.options import PictureOptions, fit_option, share_option
from sfumato.apps.cli.progress import note
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.models.cascade import Stages
    from sfumato.pictures import Fit
    from sfumato.recipe import InputFile
    from sfumato.techniques import Edit

EXAMPLES = {
    "translate": 'sfumato translate doodle.png "a panda" --strength 0.7',
    "inpaint": 'sfumato inpaint photo.png "a sunflower" --mask mask.png',
    "upscale": 'sfumato upscale small.png "a red panda" -m deepfloyd-2',
}
CONVENTIONS = ("white", "alpha")


def translate(
    *,
    options: PictureOptions,
    picture: Annotated[
        Path, Argument(help="Picture to start from: PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF or HEIC.")
    ],
    prompt: Annotated[str, Argument(help="What it becomes.")],
    strength: Annotated[float, share_option("Distance from the picture, above 0 to 1; 1 forgets it.")] = 0.7,
    fit: Annotated[str, fit_option()] = "top",
) -> None:
    """Turn a picture into what a prompt says, keeping its layout."""
    from sfumato.techniques import translate

    def build(model: Stages) -> Edit:
        return translate(fitting(picture, model, fit), prompt, strength=strength, fit=cast("Fit", fit))

    make("translate", options, build)


def inpaint(
    *,
    options: PictureOptions,
    picture: Annotated[
        Path, Argument(help="Picture to change: PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF or HEIC.")
    ],
    prompt: Annotated[str, Argument(help="What the whole picture shows.")],
    mask: Annotated[Path, Option(help="Picture of the same size that marks the pixels to make.")],
    mask_convention: Annotated[
        str,
        Option(
            help="What marks the pixels to make: white, or alpha (the transparent ones).",
            **checks.choice(CONVENTIONS),
        ),
    ] = "white",
    show_mask: Annotated[
        Path | None, Option(help="Also write the mask, white where pixels are made.")
    ] = None,
    strength: Annotated[
        float, share_option("How much of the picture under the mask is forgotten, above 0 to 1 (all).")
    ] = 1.0,
    jump: Annotated[int, Option(min=1, max=1000, help="Steps that --repeats goes back at a time.")] = 10,
    repeats: Annotated[
        int,
        Option(
            min=1,
            max=100,
            help="Passes over every stretch of --jump steps: better seams, as many times the work.",
        ),
    ] = 1,
    fit: Annotated[str, fit_option()] = "top",
) -> None:
    """Make a part of a picture again; every other pixel stays as it is."""
    if show_mask is not None:
        from sfumato.pictures import check_destination

        if check_destination(show_mask).resolve() in (mask.resolve(), picture.resolve()):
            raise UsageError(f"--show-mask {show_mask} is an input: choose another --show-mask")

    files: dict[str, InputFile] = {}

    def build(model: Stages) -> Edit:
        from sfumato.core.filters import Mask
        from sfumato.pictures import picture_size, read_mask, save_picture
        from sfumato.recipe import InputFile
        from sfumato.techniques import inpaint

        fitting(picture, model, fit)
        rule = cast("Fit", fit)
        convention = cast(Literal["white", "alpha"], mask_convention)
        size, fitted = picture_size(picture), model.shape[1:]
        region = Mask(read_mask(mask, convention=convention, size=size, resize=fitted, fit=rule))
        files[region.sha256] = InputFile(file=str(mask), kind="mask", convention=convention, fit=rule)
        note(f"the mask covers {float(region.tensor.mean()):.0%} of the picture")
        if show_mask is not None:
            save_picture(region.tensor[0] * 2 - 1, show_mask)
        return inpaint(picture, region, prompt, strength=strength, jump=jump, repeats=repeats, fit=rule)

    make("inpaint", options, build, files=files)


def upscale(
    *,
    options: PictureOptions,
    picture: Annotated[Path, Argument(help="Picture of the size that the model takes.")],
    prompt: Annotated[str, Argument(help="What it shows.")],
    noise: Annotated[
        float | None,
        share_option(
            "How far the picture is noised first, above 0 to 1; with more noise the model changes more. "
            "By default the model's.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a picture larger, by a stage of a cascade or another upscaling model."""
    from sfumato.techniques import upscale

    def build(model: Stages) -> Edit:
        model.stages[0].upscaling()  # refuses one that is no upscaler before the picture is read
        return upscale(picture, prompt)

    make("upscale", options, build, low_t=noise)

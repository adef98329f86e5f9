"""A picture under noise, and three ways to denoise it, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer import Argument, Option

from sfumato.apps.cli import checks, names
from sfumato.apps.cli.devices import load_on
from sfumato.apps.cli.inputs import fitting
from sfumato.apps.cli.options import ENLARGE_HELP, Loading, Output, fit_option, model_option
from sfumato.apps.cli.outputs import check_outputs
from sfumato.apps.cli.progress import progress_bar
from sfumato.apps.cli.tables import print_table

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.pictures import Fit
    from sfumato.study import Denoising

EXAMPLES = {"denoise": 'sfumato denoise apple.png "a red apple" --at 0.25 --at 0.5 --at 0.75'}
COLUMNS = ("noised", "blur", "one step", "iterative")
LEVELS = (0.25, 0.5, 0.75)


def denoise(
    *,
    machine: Loading,
    picture: Annotated[Path, Argument(help="Picture: PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF or HEIC.")],
    prompt: Annotated[
        str | None, Argument(help="What it shows; by default no prompt.", show_default=False)
    ] = None,
    model: Annotated[str, model_option()] = "emoji",
    at: Annotated[
        list[float] | None,
        Option(
            help="Noise level: a time above 0 to 1 (pure noise); repeatable, by default 0.25, 0.5 and 0.75.",
            callback=checks.share,
        ),
    ] = None,
    steps: Annotated[int, Option(min=1, max=names.MAX_STEPS, help="Steps of the iterative denoising.")] = 20,
    blur: Annotated[
        float, Option(help="Width of the blur in pixels of a picture 64 high.", callback=checks.finite)
    ] = 2.0,
    seed: Annotated[int, Option(min=0, max=names.MAX_SEED, help="Seed of the noise.")] = 0,
    fit: Annotated[str, fit_option()] = "top",
    out: Annotated[Path, Option("--out", "-o", help="Sheet to write.")] = Path("denoise.png"),
    enlarge: Annotated[int, Option(min=1, max=names.MAX_ENLARGE, help=ENLARGE_HELP)] = 3,
) -> None:
    """Noise a picture and denoise it by blur, in one step and iteratively: a sheet, and PSNR as a table."""
    outputs = check_outputs("denoise", Output(out=out))
    loaded = load_on(model, machine)
    import torch

    from sfumato.pictures import labelled_grid, read_picture, save_picture
    from sfumato.study import denoise, psnr

    channels, height, width = loaded.shape
    clean = read_picture(
        fitting(picture, loaded, fit), size=(height, width), channels=channels, fit=cast("Fit", fit)
    )
    outputs.refuse_inputs([str(picture)])
    settings: dict[str, Any] = {"steps": steps, "blur": blur, "seed": seed}
    levels = at or LEVELS
    found = []
    with progress_bar("denoise") as bar:
        for index, t in enumerate(levels):
            found += denoise(loaded, clean, prompt, at=[t], **settings)
            bar.show(index + 1, len(levels))
    facts: dict[str, Any] = {"model": loaded.name, "weights": loaded.sha256}
    facts |= {"picture": str(picture), "prompt": prompt, "at": list(levels), **settings}
    drawn = [torch.cat(columns_of(one)).clamp(-1, 1) for one in found]
    sheet = labelled_grid(drawn, [f"t = {one.t:g}" for one in found], COLUMNS, enlarge=enlarge)
    typer.echo(save_picture(sheet, outputs.picture, metadata={"denoise": facts, "version": 1}))
    rows = [(f"{one.t:g}", *(f"{psnr(x, clean):.1f}" for x in columns_of(one))) for one in found]
    print_table(("t", *COLUMNS), *rows, title="PSNR in dB")


def columns_of(one: Denoising) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The columns of a row, each (1, C, H, W)."""
    return one.noised, one.blurred, one.one_step, one.iterative

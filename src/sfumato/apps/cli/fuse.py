"""Commands that make pictures from prompts: of one prompt, or of several at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sfumato.apps.cli import checks, names
from sfumato.apps.cli.make_pictures import make
from sfumato.apps.cli.options import Picking, PictureOptions
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.core.expression import Expression
    from sfumato.models.cascade import Stages
    from sfumato.techniques import Edit

EXAMPLES = {
    "generate": 'sfumato generate "a red apple" --count 16 --grid --enlarge 4',
    "anagram": "sfumato anagram 6 9 -m digits --view rotate_180 --pick best --from 16",
    "hybrid": 'sfumato hybrid --far "a red apple" --near "a panda"',
    "compose": 'sfumato compose "an apple" "a red circle" --weight 0.7 --weight 0.7',
    "panorama": 'sfumato panorama "a sunflower" --width 192',
}


def generate(
    *,
    options: PictureOptions,
    picking: Picking,
    prompt: Annotated[
        str | None,
        Argument(help="What to draw; without it anything that the model knows.", show_default=False),
    ] = None,
    negative: Annotated[str | None, Option(help="What to avoid; needs guidance above 1.")] = None,
) -> None:
    """Draw pictures of a prompt; a digits model takes a digit."""

    def build(model: Stages) -> Expression:
        from sfumato.core.expression import prompt as prompt_of
        from sfumato.core.expression import unconditional

        what = prompt_of(prompt) if prompt and prompt.strip() else unconditional()
        if negative is None:
            return what
        scale = model.defaults.guidance if options.guidance is None else options.guidance
        if scale == 1:
            raise UsageError("--negative needs guidance: add --guidance 3")
        return what.guided(scale, negative=negative, between=model.defaults.guidance_between)

    chosen = options if negative is None else replace(options, guidance=None)
    make(chosen, build, picking=picking)


def anagram(
    *,
    options: PictureOptions,
    picking: Picking,
    prompts: Annotated[list[str], Argument(help="The prompts: upright first, then through each view.")],
    view: Annotated[
        list[str] | None,
        Option(
            help=f"View of the second prompt, and so on for each further one: {', '.join(names.VIEWS)}; "
            "patch_permute:patches=8,seed=3 gives a view its options. Default: flip.",
            callback=checks.named(names.VIEWS),
            autocompletion=names.completing(names.VIEWS),
        ),
    ] = None,
) -> None:
    """Draw a picture that reads differently when it is turned, flipped or rearranged."""
    from sfumato.techniques import anagram

    make(options, lambda _: anagram(*prompts, view=view or "flip"), picking=picking)


def hybrid(
    *,
    options: PictureOptions,
    picking: Picking,
    far: Annotated[str, Option(help="What is seen from afar.")],
    near: Annotated[str, Option(help="What is seen from near.")],
    middle: Annotated[str | None, Option(help="What is seen in between.")] = None,
    sigma: Annotated[
        list[float] | None,
        Option(
            help="Width of the blur between far and near in pixels of a picture 64 high, by default 2; with "
            "--middle two of them, by default 2 and 1. A smaller one shows more of what is far."
        ),
    ] = None,
) -> None:
    """Draw a picture with one subject from afar and another from near."""
    from sfumato.techniques import hybrid

    make(
        options,
        lambda _: hybrid(far=far, near=near, middle=middle, sigma=sigma or None),
        picking=picking,
    )


def compose(
    *,
    options: PictureOptions,
    prompts: Annotated[list[str], Argument(help="What the picture shows, all at once.")],
    weight: Annotated[
        list[float] | None,
        Option(help="Weight of each prompt, in order; by default equal weights that sum to 1."),
    ] = None,
    without: Annotated[list[str] | None, Option(help="What the picture must not show; repeatable.")] = None,
) -> None:
    """Draw a picture of several prompts at once, without those of --without."""
    from sfumato.techniques import compose

    make(options, lambda _: compose(*prompts, weights=weight or None, without=without or ()))


def panorama(
    *,
    options: PictureOptions,
    prompt: Annotated[str, Argument(help="What to draw, in every window of the canvas.")],
    width: Annotated[
        int | None, Option(min=1, max=names.MAX_SIDE, help="Width in pixels; by default 4 times the model's.")
    ] = None,
    height: Annotated[
        int | None, Option(min=1, max=names.MAX_SIDE, help="Height in pixels; by default the model's.")
    ] = None,
    overlap: Annotated[
        float, Option(min=0, max=0.95, help="Share of a window that the next one covers.")
    ] = 0.5,
) -> None:
    """Draw a canvas larger than the model's own pictures, window by window."""
    from sfumato.techniques import panorama

    def build(model: Stages) -> Edit:
        _, native_height, native_width = model.shape
        size = (height or native_height, width or 4 * native_width)
        times = native_height // model.stages[0].shape[1]  # the canvas is cut where the first stage draws
        if any(side % times for side in size):
            raise UsageError(
                f"--width and --height must be multiples of {times} here, not {size[1]} x {size[0]}"
            )
        return panorama(prompt, size=(size[0] // times, size[1] // times), overlap=overlap)

    make(options, build)

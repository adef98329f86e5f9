"""The options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from sfumato.apps.cli import checks, names

_SAMPLING, _LARGER, _OUTPUT, _MACHINE = "Sampling", "Larger pictures", "Output", "Machine"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A model and how it is sampled; what is None is the model's own default."""

    model: Annotated[
        str,
        Option(
            "--model",
            "-m",
            help="Name of a model (see `sfumato models`), a folder of one, or owner/name on the hub.",
            autocompletion=names.complete_models,
            rich_help_panel=_SAMPLING,
        ),
    ] = "emoji"
    steps: Annotated[
        int | None,
        Option(
            min=1,
            max=names.MAX_STEPS,
            help="Denoising steps; the model's own by default.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    solver: Annotated[
        str | None,
        Option(
            help=f"Solver: {', '.join(names.SOLVERS)}; the model's own by default.",
            callback=checks.one_of(names.SOLVERS),
            autocompletion=names.completing(names.SOLVERS),
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    solver_option: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=VALUE",
            help="Option of the solver: eta=0.5 for ddim, variance=fixed_large for ddpm, order=3 for unipc.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    spacing: Annotated[
        str | None,
        Option(
            help=f"Spacing of the steps: {', '.join(names.SPACINGS)}; the model's own by default.",
            callback=checks.one_of(names.SPACINGS),
            autocompletion=names.completing(names.SPACINGS),
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    guidance: Annotated[
        float | None,
        Option(
            "--guidance",
            "-g",
            help="Scale of classifier-free guidance, 1 is off; the model's own by default.",
            callback=checks.finite,
            rich_help_panel=_SAMPLING,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Sampling(Way):
    """What makes a picture."""

    seed: Annotated[
        int | None,
        Option(
            min=0,
            max=names.MAX_SEED,
            help="Seed of the first picture; picture i has seed + i. Without one a seed is drawn and told.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    count: Annotated[
        int,
        Option(
            "--count", "-n", min=1, max=names.MAX_COUNT, help="How many pictures.", rich_help_panel=_SAMPLING
        ),
    ] = 1
    in_pixels: Annotated[
        bool,
        Option(
            "--in-pixels",
            help="On a model of latents: views and filters act on its decoded estimates, at the cost of "
            "decoding and encoding at every step.",
            rich_help_panel=_SAMPLING,
        ),
    ] = False
    upscale: Annotated[
        int | None,
        Option(
            metavar="SIZE",
            min=1,
            max=names.MAX_SIDE,
            help="Make the pictures larger, to this height, by the stages of a cascade; the options above "
            "are those of the first stage.",
            rich_help_panel=_LARGER,
        ),
    ] = None
    stage: Annotated[
        list[str] | None,
        Option(
            metavar="MODEL",
            help="Name, folder or hub id of a model that makes pictures larger, for each stage in order; "
            "by default those published for the model.",
            autocompletion=names.complete_models,
            rich_help_panel=_LARGER,
        ),
    ] = None
    stage_steps: Annotated[
        list[int] | None,
        Option(
            min=1,
            max=names.MAX_STEPS,
            help="Denoising steps of each further stage, in their order; its model's own by default.",
            rich_help_panel=_LARGER,
        ),
    ] = None
    stage_guidance: Annotated[
        list[float] | None,
        Option(
            help="Guidance scale of each further stage, in their order; its model's own by default.",
            callback=checks.all_finite,
            rich_help_panel=_LARGER,
        ),
    ] = None
    stage_noise: Annotated[
        list[float] | None,
        Option(
            metavar="SHARE",
            help="How far each further stage noises the picture before it, above 0 to 1; its model's own by "
            "default.",
            callback=checks.shares,
            rich_help_panel=_LARGER,
        ),
    ] = None
    recipe_out: Annotated[
        Path | None,
        Option(
            help="Also write the recipe, as .yaml or .json, for `sfumato run`.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Picking:
    """Which of many pictures are kept."""

    pick: Annotated[
        str | None,
        Option(
            help="What is kept: best, the --count pictures whose weakest reading the package's classifier "
            "sees best.",
            callback=checks.one_of(names.PICKS),
            autocompletion=names.completing(names.PICKS),
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    among: Annotated[
        int | None,
        Option(
            "--from",
            min=1,
            max=names.MAX_COUNT,
            help="How many pictures --pick chooses from; 16 by default.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the pictures go, and how."""

    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            help="Picture to write: .png, .jpg, .jpeg or .webp; <command>.png by default. "
            "Of several pictures each gets its seed into the name.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    grid: Annotated[bool, Option("--grid", help="One sheet of all pictures.", rich_help_panel=_OUTPUT)] = (
        False
    )
    columns: Annotated[
        int | None,
        Option(
            min=1,
            max=names.MAX_COUNT,
            help="Columns of the sheet; as many as rows by default.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    enlarge: Annotated[
        int,
        Option(
            min=1,
            max=names.MAX_ENLARGE,
            help="Make every pixel so many pixels wide and high.",
            rich_help_panel=_OUTPUT,
        ),
    ] = 1
    animate: Annotated[
        Path | None,
        Option(
            help="Also write an animation of what the model sees in the noise at each step: .gif or .mp4.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    no_metadata: Annotated[
        bool,
        Option(
            "--no-metadata",
            help="Write no recipe into the pictures: `sfumato replay` cannot make them again.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Device:
    """What computes."""

    device: Annotated[
        str,
        Option(
            help="Device: auto (a GPU where there is one), cpu, cuda or mps.",
            callback=checks.one_of(names.DEVICES),
            autocompletion=names.completing(names.DEVICES),
            rich_help_panel=_MACHINE,
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Device):
    """What computes, and in what."""

    dtype: Annotated[
        str,
        Option(
            help="Arithmetic of the network: auto (that of the recipe, float32 for a new picture), float32, "
            "bfloat16 or float16 (not on a CPU).",
            callback=checks.one_of(names.DTYPES),
            autocompletion=names.completing(names.DTYPES),
            rich_help_panel=_MACHINE,
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """Where weights may come from."""

    offline: Annotated[
        bool,
        Option(
            "--offline",
            help="Take weights of the hub from the local cache alone.",
            rich_help_panel=_MACHINE,
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Loading(Arithmetic, Fetching):
    """What computes and how, and where weights and encoded prompts come from."""

    compile: Annotated[
        str,
        Option(
            help="Compile the network: on, off or auto (off on a CPU, on for long runs on a GPU). It takes "
            "a minute or more.",
            callback=checks.one_of(names.COMPILES),
            autocompletion=names.completing(names.COMPILES),
            rich_help_panel=_MACHINE,
        ),
    ] = "auto"
    offload: Annotated[
        str,
        Option(
            help="What of a pretrained model waits in the CPU's memory until a GPU needs it: no, network "
            "(its networks in turn) or layers (for networks larger than the GPU's memory; slow).",
            callback=checks.one_of(names.OFFLOADS),
            autocompletion=names.completing(names.OFFLOADS),
            rich_help_panel=_MACHINE,
        ),
    ] = "no"
    embeddings: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE",
            help="Encoded prompts that `sfumato encode` wrote, so that no large text encoder is needed; "
            "repeatable.",
            rich_help_panel=_MACHINE,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Machine(Loading):
    """What computes, and how much at once."""

    max_rows: Annotated[
        int | None,
        Option(
            min=1,
            help="Rows of one forward pass at most, and pictures in one run; fewer need less memory.",
            rich_help_panel=_MACHINE,
        ),
    ] = None

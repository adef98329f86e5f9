"""The options that commands share."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from sfumato.apps.cli import checks, names

_sampling, _larger, _output, _machine = (
    partial(Option, rich_help_panel=panel) for panel in ("Sampling", "Larger pictures", "Output", "Machine")
)
MODEL_HELP = "Name of a model (see `sfumato models`), a folder of one, or owner/name on the hub."
ENLARGE_HELP = "Make every pixel this many pixels wide and high."


def model_option(help: str = MODEL_HELP, **settings: Any) -> Any:
    """The option --model."""
    return Option("--model", "-m", help=help, autocompletion=names.complete_models, **settings)


def fit_option() -> Any:
    """The option --fit."""
    return Option(
        help="How a picture of another aspect is fitted: top (too tall: its lower part is cut off, too wide: "
        "both sides), crop (both ends), or pad (white is added).",
        **checks.choice(names.FITS),
    )


def share_option(help: str, **settings: Any) -> Any:
    """An option whose value is above 0 and at most 1."""
    return Option(help=help, callback=checks.share, metavar="SHARE", **settings)


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """A model and how it is sampled; None is the model's default."""

    model: Annotated[str, model_option(rich_help_panel="Sampling")] = "emoji"
    steps: Annotated[
        int | None,
        _sampling(min=1, max=names.MAX_STEPS, help="Denoising steps; the model's default if it is left out."),
    ] = None
    solver: Annotated[
        str | None,
        _sampling(
            help=f"Solver: {', '.join(names.SOLVERS)}; the model's default if it is left out.",
            **checks.choice(names.SOLVERS),
        ),
    ] = None
    solver_option: Annotated[
        list[str] | None,
        _sampling(
            metavar="NAME=VALUE",
            help="Option of the solver: eta=0.5 for ddim, variance=fixed_large for ddpm, order=3 for unipc.",
        ),
    ] = None
    spacing: Annotated[
        str | None,
        _sampling(
            help=f"Spacing of the steps: {', '.join(names.SPACINGS)}; the model's default if it is left out.",
            **checks.choice(names.SPACINGS),
        ),
    ] = None
    until: Annotated[
        float | None,
        _sampling(
            min=0,
            max=1,
            help="Leave the path at this time by one step to the picture; 0 is its end. The model's default "
            "if it is left out.",
            callback=checks.finite,
        ),
    ] = None
    guidance: Annotated[
        float | None,
        _sampling(
            "--guidance",
            "-g",
            help="Scale of classifier-free guidance, 1 is off; the model's default if it is left out.",
            callback=checks.finite,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Sampling(SamplerOptions):
    """Everything that makes a picture."""

    seed: Annotated[
        int | None,
        _sampling(
            min=0,
            max=names.MAX_SEED,
            help="Seed of the first picture; picture i has seed + i. By default a random one is shown.",
        ),
    ] = None
    count: Annotated[
        int, _sampling("--count", "-n", min=1, max=names.MAX_COUNT, help="How many pictures.")
    ] = 1
    in_pixels: Annotated[
        bool,
        _sampling(
            "--in-pixels",
            help="On a model of latents: views and filters act on its decoded estimates, at the cost of "
            "decoding and encoding at every step.",
        ),
    ] = False
    upscale: Annotated[
        int | None,
        _larger(
            metavar="SIZE",
            min=1,
            max=names.MAX_SIDE,
            help="Make the pictures larger, up to this height, by the stages of a cascade; the options above "
            "are those of the first stage.",
        ),
    ] = None
    stage: Annotated[
        list[str] | None,
        _larger(
            metavar="MODEL",
            help="Name, folder or hub id of a model that makes pictures larger, one for each stage in order; "
            "by default those published for the model.",
            autocompletion=names.complete_models,
        ),
    ] = None
    stage_steps: Annotated[
        list[int] | None,
        _larger(
            min=1,
            max=names.MAX_STEPS,
            help="Denoising steps of each further stage, in order; its model's default if it is left out.",
        ),
    ] = None
    stage_guidance: Annotated[
        list[float] | None,
        _larger(
            help="Guidance scale of each further stage, in order; its model's default if it is left out.",
            callback=checks.finite,
        ),
    ] = None
    stage_noise: Annotated[
        list[float] | None,
        _larger(
            metavar="SHARE",
            help="How far each further stage noises its low-resolution picture, above 0 to 1; its model's "
            "default if it is left out.",
            callback=checks.share,
        ),
    ] = None
    recipe_out: Annotated[
        Path | None, _output(help="Also write the recipe, as .yaml or .json, for `sfumato run`.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Picking:
    """Which pictures are kept."""

    pick: Annotated[
        str | None,
        _sampling(
            help="Keep only some pictures. best: those --count pictures whose least probable prompt is most "
            "probable to the package's classifier.",
            **checks.choice(names.PICKS),
        ),
    ] = None
    among: Annotated[
        int | None,
        _sampling(
            "--from", min=1, max=names.MAX_COUNT, help="How many pictures --pick chooses from; by default 16."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where and how pictures are written."""

    out: Annotated[
        Path | None,
        _output(
            "--out",
            "-o",
            help="Picture to write: .png, .jpg, .jpeg or .webp; <command>.png by default. "
            "The name of each of several pictures gets its seed.",
        ),
    ] = None
    grid: Annotated[bool, _output("--grid", help="Write one sheet of all pictures.")] = False
    columns: Annotated[
        int | None,
        _output(min=1, max=names.MAX_COUNT, help="Columns of the sheet; by default as many as rows."),
    ] = None
    enlarge: Annotated[int, _output(min=1, max=names.MAX_ENLARGE, help=ENLARGE_HELP)] = 1
    animate: Annotated[
        Path | None,
        _output(help="Also write an animation of the model's estimate at each step: .gif or .mp4."),
    ] = None
    no_metadata: Annotated[
        bool,
        _output(
            "--no-metadata",
            help="Write no recipe into the pictures; `sfumato replay` cannot make them again.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where a network computes."""

    device: Annotated[
        str,
        _machine(
            help="Device: auto (a GPU where there is one), cpu, cuda or mps.", **checks.choice(names.DEVICES)
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Precision(Device):
    """The device and its arithmetic."""

    dtype: Annotated[
        str,
        _machine(
            help="Arithmetic of the network: auto (that of the recipe, float32 for a new picture), float32, "
            "bfloat16 or float16 (not on a CPU).",
            **checks.choice(names.DTYPES),
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """Where weights come from."""

    offline: Annotated[
        bool, _machine("--offline", help="Take weights of the hub only from the local cache.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Loading(Precision, Fetching):
    """How a model is loaded: device, arithmetic, compilation, offloading, weights, encoded prompts."""

    compile: Annotated[
        str,
        _machine(
            help="Compile the network: on, off or auto (off on a CPU, on for long runs on a GPU). Compiling "
            "takes a minute or more.",
            **checks.choice(names.COMPILES),
        ),
    ] = "auto"
    offload: Annotated[
        str,
        _machine(
            help="Which weights of a pretrained model wait in the CPU's memory until the GPU needs them: no, "
            "network (its networks in turn) or layers (for networks larger than the GPU's memory; slow).",
            **checks.choice(names.OFFLOADS),
        ),
    ] = "no"
    embeddings: Annotated[
        list[Path] | None,
        _machine(
            metavar="FILE",
            help="Encoded prompts that `sfumato encode` wrote; with them no text encoder is loaded. "
            "Repeatable.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Machine(Loading):
    """How a model is loaded, and how much it computes at once."""

    max_rows: Annotated[
        int | None,
        _machine(
            min=1, help="Most rows of one forward pass, and pictures of one run; fewer need less memory."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions(Machine, Output):
    """Where pictures are made and written."""


@dataclass(frozen=True, kw_only=True)
class PictureOptions(RunOptions, Sampling):
    """What every command that draws or changes pictures takes."""

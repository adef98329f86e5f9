"""Names and limits for help and completion, which must not import torch.

A test compares each of them with the table that it repeats.
"""

from collections.abc import Callable, Sequence

VIEWS = (
    *("identity", "flip", "mirror", "rotate_cw", "rotate_ccw", "rotate_180", "negate", "skew"),
    *("patch_permute", "pixel_permute", "jigsaw", "inner_circle", "square_hinge"),
)
SOLVERS = ("ddpm", "ddim", "euler", "heun", "dpm++2m", "dpm++3m", "unipc")
SPACINGS = ("trailing", "leading", "uniform", "karras", "logsnr")
PRESETS = ("digits-denoise", "digits-time", "digits-class", "digits", "emoji")
PICKS = ("best",)
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
COMPILES = ("auto", "on", "off")
OFFLOADS = ("no", "network", "layers")

MAX_SEED = 2**64 - 1
FITS = ("top", "crop", "pad")
MAX_STEPS = 10_000
MAX_COUNT = 100_000
MAX_ENLARGE = 64
MAX_SIDE = 16_384


def completing(names: Sequence[str]) -> Callable[[str], list[str]]:
    """The completion of these names in a shell."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def complete_models(incomplete: str) -> list[str]:
    """The completion of model names in a shell."""
    from sfumato.models.files.registry import HUB, MODELS

    return completing([*MODELS, *HUB])(incomplete)

"""sfumato: pictures out of noise, several meanings at a time.

    import sfumato as sf

    model = sf.load("digits")
    sf.sample(model, sf.anagram("6", "9", view="rotate_180"), seed=7, count=8).save("anagram.png")

The names below are the public ones. They are imported when first used, so that `import sfumato` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "sfumato.core.crops": ["crops"],
    "sfumato.core.engine": ["Engine"],
    "sfumato.core.expression": ["Expression", "known", "label", "mean", "prompt", "unconditional"],
    "sfumato.core.filters": ["Mask"],
    "sfumato.core.guidance": ["CFGPlusPlus", "Curve", "Projected"],
    "sfumato.core.path": ["make_path", "zigzag"],
    "sfumato.core.views": ["LinearView", "PixelMap"],
    "sfumato.errors": ["ModelUnavailableError", "SfumatoError", "UsageError"],
    "sfumato.models.cascade": ["Cascade", "StageSettings"],
    "sfumato.models.files.export": ["export"],
    "sfumato.models.model": ["Model"],
    "sfumato.models.files.registry": ["load", "load_cascade"],
    "sfumato.pictures": ["read_mask", "read_picture"],
    "sfumato.recipe": ["Recipe", "read_recipe"],
    "sfumato.sampling": ["Pictures", "make_recipe", "run", "sample"],
    "sfumato.study": ["denoise"],
    "sfumato.techniques": [
        "Edit",
        "anagram",
        "colour_hybrid",
        "compose",
        "hybrid",
        "inpaint",
        "motion_hybrid",
        "panorama",
        "translate",
        "upscale",
    ],
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604

if TYPE_CHECKING:
    from sfumato.core.crops import crops
    from sfumato.core.engine import Engine
    from sfumato.core.expression import Expression, known, label, mean, prompt, unconditional
    from sfumato.core.filters import Mask
    from sfumato.core.guidance import CFGPlusPlus, Curve, Projected
    from sfumato.core.path import make_path, zigzag
    from sfumato.core.views import LinearView, PixelMap
    from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
    from sfumato.models.cascade import Cascade, StageSettings
    from sfumato.models.files.export import export
    from sfumato.models.files.registry import load, load_cascade
    from sfumato.models.model import Model
    from sfumato.pictures import read_mask, read_picture
    from sfumato.recipe import Recipe, read_recipe
    from sfumato.sampling import Pictures, make_recipe, run, sample
    from sfumato.study import denoise
    from sfumato.techniques import (
        Edit,
        anagram,
        colour_hybrid,
        compose,
        hybrid,
        inpaint,
        motion_hybrid,
        panorama,
        translate,
        upscale,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sfumato' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)

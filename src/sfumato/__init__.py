"""sfumato: pictures out of noise, several meanings at a time.

    import sfumato as sf

    model = sf.load("digits")
    sf.sample(model, sf.anagram("6", "9", view="rotate_180"), seed=7, count=8).save("anagram.png")

The names below are the public ones. They are imported when first used, so that `import sfumato` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sfumato.version import __version__

_PUBLIC = {
    "sfumato.core.crops": ["crops"],
    "sfumato.core.engine": ["Denoiser", "Engine"],
    "sfumato.core.expression": ["Expression", "known", "label", "mean", "prompt", "unconditional"],
    "sfumato.core.filters": ["Filter", "Mask"],
    "sfumato.core.guidance": ["CFGPlusPlus", "Curve", "Projected"],
    "sfumato.core.path": ["make_path", "zigzag"],
    "sfumato.core.prediction": ["Estimate"],
    "sfumato.core.schedule": ["BetaTable", "FixedSigma", "Flow", "Schedule"],
    "sfumato.core.solvers": ["Solver"],
    "sfumato.core.views": ["LinearView", "PixelMap", "View"],
    "sfumato.errors": ["ModelUnavailableError", "SfumatoError", "UsageError"],
    "sfumato.models.cascade": ["Cascade", "StageSettings"],
    "sfumato.models.files.export": ["export"],
    "sfumato.models.files.registry": ["load", "load_cascade"],
    "sfumato.models.defaults": ["SamplingDefaults"],
    "sfumato.models.model": ["Model"],
    "sfumato.models.runtime.placement": ["Placement"],
    "sfumato.pictures": ["read_mask", "read_picture"],
    "sfumato.recipe": ["Recipe", "read_recipe"],
    "sfumato.results": ["Pictures"],
    "sfumato.runs": ["Run"],
    "sfumato.sampling": ["make_recipe", "make_run", "run", "sample"],
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
    from sfumato.core.engine import Denoiser, Engine
    from sfumato.core.expression import Expression, known, label, mean, prompt, unconditional
    from sfumato.core.filters import Filter, Mask
    from sfumato.core.guidance import CFGPlusPlus, Curve, Projected
    from sfumato.core.path import make_path, zigzag
    from sfumato.core.prediction import Estimate
    from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Schedule
    from sfumato.core.solvers import Solver
    from sfumato.core.views import LinearView, PixelMap, View
    from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
    from sfumato.models.cascade import Cascade, StageSettings
    from sfumato.models.defaults import SamplingDefaults
    from sfumato.models.files.export import export
    from sfumato.models.files.registry import load, load_cascade
    from sfumato.models.model import Model
    from sfumato.models.runtime.placement import Placement
    from sfumato.pictures import read_mask, read_picture
    from sfumato.recipe import Recipe, read_recipe
    from sfumato.results import Pictures
    from sfumato.runs import Run
    from sfumato.sampling import make_recipe, make_run, run, sample
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

"""A run: everything that makes some pictures, as objects.

`sf.sample` builds a run and runs it. A recipe is a run as JSON: `write_run` makes it where a picture is
saved, `read_run` makes a run of it again for replay, the server and the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sfumato.core.engine import Denoiser, Engine
from sfumato.core.expression import Expression
from sfumato.core.filters import Mask
from sfumato.core.hashed import HashedTensor
from sfumato.core.noise import MAX_SEED
from sfumato.core.notation import from_json, to_json
from sfumato.core.path import PathSettings
from sfumato.core.solvers import Solver, read_solver, write_solver
from sfumato.core.writing import Inputs, Writer, input_picture
from sfumato.errors import UsageError
from sfumato.models.cascade import Stages, stage_name
from sfumato.models.model import Model
from sfumato.pictures.surroundings import Surroundings
from sfumato.recipe import MAX_COUNT, MAX_SIDE, InputFile, Recipe, parse_recipe, seeds_of
from sfumato.recipe import Stage as StageRecipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """How the pictures of one size are sampled, by one model.

    expression: over pictures of `size` (H, W), with its guidance and clipping
    in_pixels: views and filters of a model of latents act on its decoded estimates
    low_t: the time up to which the low-resolution picture is noised; None for a model that does not upscale
    """

    model: Model
    expression: Expression
    path: PathSettings
    solver: Solver
    size: tuple[int, int]
    in_pixels: bool = False
    low_t: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """`count` pictures; picture i has the seed `seed + i` and can be made alone.

    stages: the first makes pictures, each further one makes larger what the one before made
    start: the picture (1, C, H, W) that sampling starts from; it and `keep` have the size of the last
        stage, and are reduced for the others
    low: the picture (1, C, h, w) that the first stage makes larger
    keep, mask: outside the mask the pixels of `keep` stay exactly
    surroundings: what the pictures are a part of, at its full size
    files: where input pictures were read from, by their sha256
    networks: others than the stages', by the names that the expression has for them
    one_at_a_time: a stage's network leaves the memory before the next one comes
    """

    stages: tuple[Stage, ...]
    seed: int
    count: int = 1
    start: HashedTensor | None = None
    low: HashedTensor | None = None
    keep: HashedTensor | None = None
    mask: Mask | None = None
    surroundings: Surroundings | None = None
    files: Mapping[str, InputFile] = field(default_factory=dict)
    networks: Mapping[str, Denoiser] = field(default_factory=dict)
    one_at_a_time: bool = False

    def __post_init__(self) -> None:
        _whole(self.seed, "seed", 0, MAX_SEED)
        _whole(self.count, "count", 1, MAX_COUNT)
        if (self.keep is None) != (self.mask is None):
            raise UsageError("keep and mask go together: the pixels of one stay outside the other")
        for stage in self.stages:
            for side in stage.size:
                _whole(side, "a side of the size", 1, MAX_SIDE)
            if stage.low_t is not None and not 0 < stage.low_t <= 1:
                raise UsageError(f"low_t is {stage.low_t}: give a time above 0 and at most 1")

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture."""
        return seeds_of(self.seed, self.count)

    def engine(self, max_rows: int) -> Engine:
        """The engine that answers the queries of this run, and of others of the same models."""
        first, *larger = (stage.model for stage in self.stages)
        own: dict[str, Denoiser] = {stage_name(i): model for i, model in enumerate(larger, start=1)}
        if own.keys() & self.networks.keys():
            raise UsageError(f"{', '.join(own)} are the cascade's own networks: give yours other names")
        return Engine(first, {**self.networks, **own}, max_rows=max_rows)


def _whole(value: object, name: str, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}: give a whole number from {low} to {high}")


def write_run(run: Run) -> tuple[Recipe, dict[str, object]]:
    """The recipe of a run, and its inputs (writing.Inputs).

    `Recipe.custom` names what the recipe cannot make again: the user's own objects, and models without files.
    """
    writer = Writer()
    first, *larger = (_write_stage(stage, writer) for stage in run.stages)
    path = run.stages[0].path
    held = [picture for picture in (run.start, run.low, run.keep) if picture is not None]
    held += [run.mask.held] if run.mask is not None else []
    for picture in held:
        writer.picture(picture)
    models = [f"model {stage.model.name}" for stage in run.stages if stage.model.sha256 is None]
    recipe = parse_recipe(
        {
            **first,
            "stages": larger,
            "dtype": dtype_name(run.stages[0].model),
            "strength": path.strength,
            "start_time": path.start,
            "jump": path.jump,
            "repeats": path.repeats,
            "start": run.start and run.start.sha256,
            "low": run.low and run.low.sha256,
            "keep": run.keep and run.keep.sha256,
            "mask": run.mask and run.mask.sha256,
            "seed": run.seed,
            "count": run.count,
            "inputs": {sha: file for sha, file in run.files.items() if sha in writer.inputs},
            "custom": [*writer.custom, *models],
        }
    )
    return recipe, writer.inputs


def _write_stage(stage: Stage, writer: Writer) -> dict[str, object]:
    solver, options = write_solver(stage.solver, writer)
    return {
        "model": stage.model.name,
        "weights": stage.model.sha256,
        "expression": to_json(stage.expression, writer),
        "steps": stage.path.steps,
        "spacing": stage.path.spacing,
        "until": stage.path.until,
        "solver": solver,
        "options": options,
        "size": stage.size,
        "in_pixels": stage.in_pixels,
        "low_t": stage.low_t,
    }


def read_run(
    recipe: Recipe,
    model: Stages,
    inputs: Inputs | None = None,
    *,
    networks: Mapping[str, Denoiser] | None = None,
) -> Run:
    """The run of a recipe on these models; UsageError where they, or the inputs, do not fit it."""
    given: Inputs = inputs or {}
    models = list(model.stages)
    if len(models) <= len(recipe.stages):
        names = ", ".join(stage.model for stage in recipe.stages)
        raise UsageError(f"the recipe has further stages ({names}): give a Cascade that has them")
    if recipe.low is not None:
        low = input_picture(given, recipe.low).tensor
        models[0] = models[0].fitting(low.shape[-1])

    def picture(sha256: str | None) -> HashedTensor | None:
        return None if sha256 is None else input_picture(given, sha256)

    mask = picture(recipe.mask)
    first = PathSettings(
        steps=recipe.steps,
        spacing=recipe.spacing,
        strength=recipe.strength,
        start=recipe.start_time,
        until=recipe.until,
        jump=recipe.jump,
        repeats=recipe.repeats,
    )
    later = (PathSettings(steps=s.steps, spacing=s.spacing, until=s.until) for s in recipe.stages)
    paths = [first, *later]
    written = (recipe, *recipe.stages)
    return Run(
        stages=tuple(
            _read_stage(stage, own, path, given)
            for stage, own, path in zip(written, models[: len(written)], paths, strict=True)
        ),
        seed=recipe.seed,
        count=recipe.count,
        start=picture(recipe.start),
        low=picture(recipe.low),
        keep=picture(recipe.keep),
        mask=None if mask is None else Mask(mask.tensor),
        files=recipe.inputs,
        networks=networks or {},
        one_at_a_time=model.one_at_a_time,
    )


def _read_stage(stage: StageRecipe, model: Model, path: PathSettings, inputs: Inputs) -> Stage:
    return Stage(
        model=model,
        expression=from_json(stage.expression, inputs),
        path=path,
        solver=read_solver(stage.solver, stage.options, inputs),
        size=stage.size,
        in_pixels=stage.in_pixels,
        low_t=stage.low_t,
    )


def dtype_name(model: Model) -> str:
    """What a model is computed in, as recipes write it."""
    return str(model.dtype).removeprefix("torch.")

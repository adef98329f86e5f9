"""What a model is sampled with when a run says nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sfumato.core.expression import Expression, Guided
from sfumato.core.guidance import Scale
from sfumato.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """What a model is sampled with when a run says nothing else.

    steps     downward steps of the path
    solver    a name of `core.solvers.SOLVERS`
    spacing   a name of `core.path.PATHS`
    until     the path is left there, by one step to data (core.path.PathSettings)
    guidance  the scale of classifier-free guidance; 1 is off
    guidance_between  the times within which it acts (expression.Guided)
    clip      whether estimates of x0 are kept in [-limit, limit] ...
    quantile  ... or, where it is given, by dynamic thresholding (guidance.Clipped)
    styles    of which the seed chooses one for a prompt that names none (frame.Prompt)
    options   of the solver; another solver does not take them over
    """

    steps: int = 20
    solver: str = "dpm++2m"
    spacing: str = "trailing"
    until: float = 0.0
    guidance: float = 1.0
    guidance_between: tuple[float, float] = (0.0, 1.0)
    clip: bool = False
    limit: float = 1.0
    quantile: float | None = None
    styles: tuple[str, ...] = ()
    options: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("guidance_between", "styles"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists

    def with_defaults(
        self, e: Expression, *, guidance: Scale | None = None, clip: bool | None = None
    ) -> Expression:
        """The expression with guidance, where it has none of its own, and clipping; None is the default.

        Raises:
            UsageError: a guidance scale for an expression that has guidance of its own.
        """
        if not any(isinstance(node, Guided) for node in e.walk()):
            e = e.guided(self.guidance if guidance is None else guidance, between=self.guidance_between)
        elif guidance is not None:
            raise UsageError("the expression has guidance of its own: leave the guidance scale out")
        clip = self.clip if clip is None else clip
        return e.clipped(self.limit, quantile=self.quantile) if clip else e

    def solver_options(
        self, solver: str | None, options: Mapping[str, float | str] | None
    ) -> dict[str, float | str]:
        """The options of a solver; None is the default one, whose own options are added."""
        own = self.options if solver in {None, self.solver} else {}
        return {**own, **(options or {})}

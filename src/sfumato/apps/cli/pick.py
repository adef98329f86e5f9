"""Keeping the best of many pictures, as the package's classifiers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.cli.options import Output, Picking, Sampling
    from sfumato.core.expression import Expression
    from sfumato.evaluation.reader import Reader
    from sfumato.models.model import Model
    from sfumato.techniques import Edit

AMONG = 16


@dataclass(frozen=True, kw_only=True)
class Choice:
    """So many of so many."""

    keep: int
    among: int

    def judge(self, model: Model, what: Expression | Edit | str) -> Judged:
        """What judges the pictures; UsageError, before anything is drawn, where nothing can."""
        from sfumato.core.expression import as_expression
        from sfumato.evaluation.illusions import looks
        from sfumato.evaluation.readers import reader_of
        from sfumato.techniques import Edit

        reader = reader_of(model)
        expression = what.expression if isinstance(what, Edit) else as_expression(what)
        for look in looks(expression):
            reader.meaning(look.text)
        return Judged(reader=reader, expression=expression, keep=self.keep)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An expression and who judges its pictures."""

    reader: Reader
    expression: Expression
    keep: int

    def best(self, pictures: Tensor) -> tuple[list[int], list[str]]:
        """The rows of the pictures to keep, best first, and what is to be said of each."""
        from sfumato.evaluation.illusions import pick_best

        rows, scores = pick_best(self.reader, pictures, self.expression, keep=self.keep)
        return rows, [
            _described(scores.probability[row].tolist(), float(scores.concealment[row])) for row in rows
        ]


def choose(picking: Picking, sampling: Sampling, output: Output) -> Choice | None:
    """What the options ask for; None keeps every picture.

    Raises:
        UsageError: options that do not go together.
    """
    if picking.pick is None:
        if picking.among is not None:
            raise UsageError("--from says what --pick chooses from: add --pick best")
        return None
    among = AMONG if picking.among is None else picking.among
    if sampling.count > among:
        raise UsageError(
            f"--count {sampling.count} of --from {among} pictures cannot be picked: raise --from"
        )
    if output.grid or output.animate is not None:
        raise UsageError("--pick keeps single pictures: leave --grid and --animate out")
    if sampling.recipe_out is not None and sampling.count > 1:
        raise UsageError("--recipe-out holds one recipe, and every picture that --pick keeps has its own")
    return Choice(keep=sampling.count, among=among)


def _described(probabilities: list[float], concealment: float) -> str:
    if len(probabilities) == 1:
        return f"read as asked with {probabilities[0]:.1%}"
    readings = ", ".join(f"{p:.1%}" for p in probabilities)
    return f"readings seen with {readings}; concealment {concealment:.2f}"

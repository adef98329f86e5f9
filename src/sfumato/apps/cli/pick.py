"""Keeping the best of many pictures, as the package's classifiers judge them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.cli.options import Picking, PictureOptions
    from sfumato.core.expression import Expression
    from sfumato.evaluation.reader import Reader
    from sfumato.models.model import Model
    from sfumato.techniques import Edit

AMONG = 16


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How many pictures are kept, and of how many."""

    keep: int
    among: int

    def picker(self, model: Model, what: Expression | Edit | str) -> Picker:
        """What picks the pictures of an expression; UsageError where no classifier can judge them."""
        from sfumato.evaluation.illusions import looks
        from sfumato.evaluation.readers import reader_of
        from sfumato.techniques import as_edit

        reader, expression = reader_of(model), as_edit(what).expression
        for look in looks(expression):
            reader.meaning(look.text)
        return Picker(reader=reader, expression=expression, keep=self.keep)


@dataclass(frozen=True, kw_only=True)
class Picker:
    """An expression and the classifier that judges its pictures."""

    reader: Reader
    expression: Expression
    keep: int

    def best(self, pictures: Tensor) -> tuple[list[int], list[str]]:
        """The rows of the pictures to keep, best first, and a description of each."""
        from sfumato.evaluation.illusions import pick_best

        rows, scores = pick_best(self.reader, pictures, self.expression, keep=self.keep)
        return rows, [
            _described(scores.probability[row].tolist(), float(scores.concealment[row])) for row in rows
        ]


def selection_of(picking: Picking, options: PictureOptions) -> Selection | None:
    """The selection of the options; None keeps every picture.

    Raises:
        UsageError: options contradict each other.
    """
    if picking.pick is None:
        if picking.among is not None:
            raise UsageError("--from needs --pick: add --pick best")
        return None
    among = AMONG if picking.among is None else picking.among
    if options.count > among:
        raise UsageError(f"--count {options.count} is more than --from {among}: raise --from")
    if options.grid or options.animate is not None:
        raise UsageError("--pick keeps single pictures: leave --grid and --animate out")
    if options.recipe_out is not None and options.count > 1:
        raise UsageError(
            "--recipe-out holds one recipe, but each picture of --pick has its own: use --count 1"
        )
    return Selection(keep=options.count, among=among)


def _described(probabilities: list[float], concealment: float) -> str:
    if len(probabilities) == 1:
        return f"the classifier gives its prompt {probabilities[0]:.1%}"
    readings = ", ".join(f"{p:.1%}" for p in probabilities)
    return f"the classifier gives its prompts {readings}; concealment {concealment:.2f}"

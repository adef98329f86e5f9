"""Keeping the best of many pictures, as the package's classifiers judge them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.cli.options import Picking, PictureOptions
    from sfumato.core.expression import Expression
    from sfumato.models.cascade import Stages
    from sfumato.techniques import Edit

AMONG = 16


class Picker:
    """An expression and the classifier that judges its pictures; UsageError where none can judge them."""

    def __init__(self, model: Stages, what: Expression | Edit | str, *, keep: int) -> None:
        from sfumato.evaluation.illusions import looks
        from sfumato.evaluation.readers import reader_of
        from sfumato.techniques import as_edit

        self.reader, self.expression, self.keep = reader_of(model), as_edit(what).expression, keep
        for look in looks(self.expression):
            self.reader.meaning(look.text)

    def best(self, pictures: Tensor) -> tuple[list[int], list[str]]:
        """The rows of the pictures to keep, best first, and a description of each."""
        from sfumato.evaluation.illusions import pick_best

        rows, scores = pick_best(self.reader, pictures, self.expression, keep=self.keep)
        return rows, [
            _described(scores.probability[row].tolist(), float(scores.concealment[row])) for row in rows
        ]


def pictures_to_pick_from(picking: Picking, options: PictureOptions) -> int | None:
    """How many pictures are made, of which --count are kept; None keeps every picture.

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
    return among


def _described(probabilities: list[float], concealment: float) -> str:
    if len(probabilities) == 1:
        return f"probability of its prompt by the classifier: {probabilities[0]:.1%}"
    readings = ", ".join(f"{p:.1%}" for p in probabilities)
    return f"probabilities of its prompts by the classifier: {readings}; concealment {concealment:.2f}"

"""Which of the package's classifiers reads what a model draws."""

from sfumato.errors import UsageError
from sfumato.evaluation.digits import DIGITS, load_judge
from sfumato.evaluation.emoji import SIDE, load_emoji_judge
from sfumato.evaluation.reader import Reader
from sfumato.models.model import Model


def reader_of(model: Model) -> Reader:
    """The package's reader for what a model draws.

    Raises:
        UsageError: the package has none.
    """
    channels, height, width = model.shape
    if model.class_names == DIGITS and model.shape == (1, 28, 28):
        return load_judge()
    if channels == 3 and height == width >= SIDE and not model.class_names:
        return load_emoji_judge()
    raise UsageError(
        f"nothing here reads what {model.name} draws: the package judges digits, and square coloured "
        f"pictures of at least {SIDE} pixels by the emoji that they look like"
    )

"""The choice of the classifier that reads the pictures of a model."""

from sfumato.errors import UsageError
from sfumato.evaluation.digits import DIGITS, load_judge
from sfumato.evaluation.emoji import SIDE, load_emoji_judge
from sfumato.evaluation.reader import Reader
from sfumato.models.cascade import Stages


def reader_of(model: Stages) -> Reader:
    """The package's reader for the pictures of a model.

    Raises:
        UsageError: the package has none.
    """
    channels, height, width = model.shape
    if model.class_names == DIGITS and model.shape == (1, 28, 28):
        return load_judge()
    if channels == 3 and height == width >= SIDE and not model.class_names:
        return load_emoji_judge()
    raise UsageError(
        f"no reader for the pictures of {model.name}: there is one for digits of 28 x 28 pixels, and one for "
        f"emoji, which are square coloured pictures of at least {SIDE} pixels"
    )

"""The emoji data set: openly licensed icons, drawn on white, with the words to ask for them."""

from sfumato.training.emoji.captioned import captioned_emoji
from sfumato.training.emoji.captions import DRAWS, Captions
from sfumato.training.emoji.concepts import Concept
from sfumato.training.emoji.dataset import EmojiDataset, load_emoji
from sfumato.training.emoji.wordings import Wording, held_out_wordings

__all__ = [
    "DRAWS",
    "Captions",
    "Concept",
    "EmojiDataset",
    "Wording",
    "captioned_emoji",
    "held_out_wordings",
    "load_emoji",
]

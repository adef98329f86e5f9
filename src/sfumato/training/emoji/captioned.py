"""The emoji data set with its captions, encoded: what `train emoji` learns from."""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from sfumato.cache import cache_folder
from sfumato.errors import SfumatoError
from sfumato.models.files.store import read_folder, write_folder
from sfumato.models.text.encoder import TextEncoder, load_text_encoder
from sfumato.models.text.word_vectors import BAG
from sfumato.training.captions import Bank, CaptionedDataset
from sfumato.training.emoji.captions import DRAWS, Captions
from sfumato.training.emoji.dataset import EmojiDataset, load_emoji

EACH = 32  #     captions of a concept, its bare label among them
TOKENS = 16  #   of a caption at most; the few that are longer are cut
ROWS = 256  #    captions that are encoded together
SEED = 1234  #   of the captions: they are the same in every training

_FORMAT = 2  # to be raised when captions are drawn or encoded otherwise


def captioned_emoji(*, cache: Path | None = None) -> CaptionedDataset:
    """The pictures with `EACH` captions for each concept, from the cache; at first use encoded into it.

    Captions name no style: a style is a condition of its own.

    Raises:
        SfumatoError: as `load_emoji`; or the text encoder is missing or damaged.
    """
    data = load_emoji(cache=cache)
    encoder = load_text_encoder()
    texts = captions_of(data)
    folder = (cache or cache_folder()) / "datasets" / f"emoji-captions-{_key(texts, encoder)[:12]}"
    try:
        _, tensors = read_folder(folder)
    except SfumatoError:  # never encoded, or damaged
        tensors = _encoded(encoder, texts)
        write_folder(folder, {"format": _FORMAT, "name": "emoji captions"}, tensors, dtype=torch.bfloat16)
        _, tensors = read_folder(folder)  # rounded, so that the first run sees what later ones see
    return CaptionedDataset(
        name="emoji",
        pictures=data.pictures,
        labels=data.concept,
        classes=tuple(concept.label for concept in data.concepts),
        bank=Bank(
            sentence=tensors["sentence"],
            tokens=tensors["tokens"].bfloat16(),
            mask=tensors["mask"],
            bag=tensors["bag"],
            first=torch.arange(len(data.concepts) + 1) * EACH,
        ),
        style=data.style,
        styles=data.styles,
    )


def captions_of(data: EmojiDataset) -> list[str]:
    """`EACH` captions of every concept, in the order of concepts; the last of each is its label."""
    captions, generator = Captions(data.concepts), torch.Generator().manual_seed(SEED)
    texts: list[str] = []
    for row, concept in enumerate(data.concepts):
        draws = torch.rand(EACH - 1, DRAWS, generator=generator, dtype=torch.float64).tolist()
        texts += [captions.of(row, numbers) for numbers in draws]
        texts.append(concept.label)
    return texts


def _encoded(encoder: TextEncoder, texts: list[str]) -> dict[str, Tensor]:
    """Texts as the encoder has them, each different one encoded once."""
    different = sorted(set(texts), key=len)  # texts of like length pad one another little
    sentence = torch.zeros(len(different), encoder.width)
    tokens = torch.zeros(len(different), TOKENS, encoder.width, dtype=torch.bfloat16)
    mask = torch.zeros(len(different), TOKENS, dtype=torch.bool)
    bag = torch.zeros(len(different), BAG)
    for start in range(0, len(different), ROWS):
        found = encoder.encode(different[start : start + ROWS])
        rows, length = slice(start, start + len(found.mask)), min(TOKENS, found.mask.shape[1])
        sentence[rows] = found.sentence
        tokens[rows, :length] = found.tokens[:, :length].bfloat16()
        mask[rows, :length] = found.mask[:, :length]
        bag[rows] = found.bag
    row_of = {text: row for row, text in enumerate(different)}
    order = torch.tensor([row_of[text] for text in texts])
    return {"sentence": sentence[order], "tokens": tokens[order], "mask": mask[order], "bag": bag[order]}


def _key(texts: list[str], encoder: TextEncoder) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, TOKENS, encoder.sha256, texts]).encode()).hexdigest()

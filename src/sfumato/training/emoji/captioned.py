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
from sfumato.models.text.phrasing import things
from sfumato.models.text.word_vectors import BAG
from sfumato.training.captions import Bank, CaptionedDataset
from sfumato.training.emoji.captions import DRAWS, Captions
from sfumato.training.emoji.dataset import COLOURLESS, GROUP, EmojiDataset, load_emoji
from sfumato.training.emoji.scenes import composed

EACH = 32  #     captions of a concept, its bare label among them
OF_SILHOUETTES = 8  # of a concept that only silhouettes show, and that has no other words
SCENES = 16384
TOKENS = 16  #   of a caption at most; the few that are longer are cut
ROWS = 256  #    captions that are encoded together
SEED = 1234  #   of the captions: they are the same in every training

# Styles without colour: how often an epoch shows a picture, where others are shown once. Their name is always
# told: a prompt that names no style is drawn in colour.
_COLOURLESS = dict.fromkeys(COLOURLESS, 0.4)
_NAMED = 0.8  #   how often the name of another style is told
_SCENES = 0.25  # of an epoch
# The length of the keys of silhouettes' concepts (docs/log.md): a wording of no caption means one less often
_LENGTH = 0.87

_FORMAT = 3  # to be raised when captions are drawn or encoded, or scenes composed, otherwise


def captioned_emoji(*, cache: Path | None = None, scenes: int = SCENES) -> CaptionedDataset:
    """The pictures with captions for each concept, and scenes; from the cache, at first use drawn into it.

    Captions name no style: a style is a condition of its own.

    Raises:
        SfumatoError: as `load_emoji`; or the text encoder is missing or damaged.
    """
    data = load_emoji(cache=cache)
    encoder = load_text_encoder()
    pictures, said, styles = _composed(data, scenes, cache)
    captions, counts = captions_of(data)
    captions += said
    asked = [things(caption) for caption in captions]
    texts = sorted({*captions, *(thing for two in asked for thing in two)}, key=lambda t: (len(t), t))
    tensors = _from_cache(texts, encoder, cache)
    row_of = {text: row for row, text in enumerate(texts)}
    first = torch.tensor([0, *counts, *[1] * scenes]).cumsum(0)
    concepts = len(data.concepts)
    return CaptionedDataset(
        name="emoji",
        pictures=torch.cat([data.pictures, pictures]),
        labels=torch.cat([data.concept, torch.arange(concepts, concepts + scenes)]),
        classes=(*(concept.label for concept in data.concepts), *said),
        bank=Bank(
            sentence=tensors["sentence"],
            tokens=tensors["tokens"].bfloat16(),
            mask=tensors["mask"],
            bag=tensors["bag"],
            text=torch.tensor([row_of[caption] for caption in captions]),
            things=torch.tensor([[row_of[t] for t in two] + [-1] * (2 - len(two)) for two in asked]),
            first=first,
            length=torch.tensor([_LENGTH if c.group == GROUP else 1.0 for c in data.concepts]),
        ),
        style=torch.cat([data.style, styles]),
        styles=data.styles,
        named=torch.tensor([1.0 if style in _COLOURLESS else _NAMED for style in data.styles]),
        share=_shares(data, scenes),
        scenes=concepts,
    )


def captions_of(data: EmojiDataset) -> tuple[list[str], list[int]]:
    """Captions of every concept, in the order of concepts, the last of each its label; and how many each."""
    captions, generator = Captions(data.concepts), torch.Generator().manual_seed(SEED)
    texts: list[str] = []
    counts = [EACH if concept.group != GROUP else OF_SILHOUETTES for concept in data.concepts]
    for row, (concept, count) in enumerate(zip(data.concepts, counts, strict=True)):
        draws = torch.rand(count - 1, DRAWS, generator=generator, dtype=torch.float64).tolist()
        texts += [captions.of(row, numbers) for numbers in draws]
        texts.append(concept.label)
    return texts, counts


def _shares(data: EmojiDataset, scenes: int) -> Tensor:
    of_style = torch.tensor([_COLOURLESS.get(style, 1.0) for style in data.styles], dtype=torch.float64)
    icons = of_style[data.style]
    of_scenes = float(icons.sum()) * _SCENES / (1 - _SCENES) / max(scenes, 1)
    return torch.cat([icons, torch.full((scenes,), of_scenes, dtype=torch.float64)])


def _composed(data: EmojiDataset, count: int, cache: Path | None) -> tuple[Tensor, list[str], Tensor]:
    """`scenes.composed`, from the cache."""
    key = hashlib.sha256(f"{_FORMAT} {data.fingerprint} {count}".encode()).hexdigest()
    folder = (cache or cache_folder()) / "datasets" / f"emoji-scenes-{key[:12]}"
    try:
        description, tensors = read_folder(folder)
    except SfumatoError:  # never composed, or damaged
        pictures, captions, styles = composed(data, count)
        description = {"format": _FORMAT, "name": "emoji scenes", "captions": captions}
        tensors = {"pictures": pictures, "style": styles}
        write_folder(folder, description, tensors)
    return tensors["pictures"], description["captions"], tensors["style"]


def _from_cache(texts: list[str], encoder: TextEncoder, cache: Path | None) -> dict[str, Tensor]:
    folder = (cache or cache_folder()) / "datasets" / f"emoji-captions-{_key(texts, encoder)[:12]}"
    try:
        return read_folder(folder)[1]
    except SfumatoError:  # never encoded, or damaged
        described = {"format": _FORMAT, "name": "emoji captions"}
        write_folder(folder, described, _encoded(encoder, texts), dtype=torch.bfloat16)
        return read_folder(folder)[1]  # rounded, so that the first run sees what later ones see


def _encoded(encoder: TextEncoder, texts: list[str]) -> dict[str, Tensor]:
    """Texts as the encoder has them; neighbours of like length pad one another little."""
    sentence = torch.zeros(len(texts), encoder.width)
    tokens = torch.zeros(len(texts), TOKENS, encoder.width, dtype=torch.bfloat16)
    mask = torch.zeros(len(texts), TOKENS, dtype=torch.bool)
    bag = torch.zeros(len(texts), BAG)
    for start in range(0, len(texts), ROWS):
        found = encoder.encode(texts[start : start + ROWS])
        rows, length = slice(start, start + len(found.mask)), min(TOKENS, found.mask.shape[1])
        sentence[rows] = found.sentence
        tokens[rows, :length] = found.tokens[:, :length].bfloat16()
        mask[rows, :length] = found.mask[:, :length]
        bag[rows] = found.bag
    return {"sentence": sentence, "tokens": tokens, "mask": mask, "bag": bag}


def _key(texts: list[str], encoder: TextEncoder) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, TOKENS, encoder.sha256, texts]).encode()).hexdigest()

"""What a text-to-image model does not understand of a prompt, in sentences for whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from sfumato.core.expression import Expression, conditions_of
from sfumato.core.frame import Prompt
from sfumato.models.networks.text_to_image import NEARNESS, NEARNESS_OF_BAGS, Recall
from sfumato.models.text.emoji import name_emoji
from sfumato.models.text.encoder import LENGTH, load_text_encoder
from sfumato.models.text.phrasing import things, without_frame
from sfumato.models.text_to_image import TextConditioner

if TYPE_CHECKING:
    from sfumato.models.cascade import Stages

# Nearness of a thing to the nearest concept, 1 for its mean caption. Of wordings that no caption contains
# 23 % recall the right concept below it, 59 % above; of the concepts' own labels one in 100 lies below it.
FAR = 0.45
NEAREST = 3  # concepts that are named
SHORT = 60  # characters of a prompt that is quoted


class _Memory(NamedTuple):
    """What a network recalls, and the names of the concepts, as it numbers them; none where it keeps none."""

    recall: Recall
    names: Sequence[str]


def remarks_on(model: Stages, e: Expression) -> list[str]:
    """What the model does not understand of the prompts of an expression, a sentence each.

    Nothing is said of models that take classes, or whose text encoder is not the package's own.
    """
    first = model.stages[0]
    conditioner = first.conditioner
    if not isinstance(conditioner, TextConditioner):
        return []
    recall = getattr(first.network, "recall", None)
    memory = _Memory(recall, first.provenance.get("concepts", ())) if isinstance(recall, Recall) else None
    prompts = dict.fromkeys(c.text for c in conditions_of(e) if isinstance(c, Prompt) and c.text.strip())
    found = [remark for prompt in prompts for remark in _remarks(prompt, conditioner, memory)]
    return list(dict.fromkeys(found))


def _remarks(prompt: str, conditioner: TextConditioner, memory: _Memory | None) -> Iterator[str]:
    naming, encoder = name_emoji(prompt), load_text_encoder()
    text = conditioner.without_style(prompt)
    cut = encoder.cuts(text)  # refuses what is no text
    yield from (f'{emoji} is read as "{name}"' for emoji, name in naming.names.items())
    if cut:
        yield f'the prompt is cut after {LENGTH} tokens, some fifty words: "{_short(prompt)}"'
    unknown = [*naming.unnamed, *encoder.unknown_words(without_frame(text))]
    if unknown:
        more = ", ..." if len(unknown) > NEAREST else ""
        words = ", ".join(f'"{_short(word)}"' for word in unknown[:NEAREST])
        yield f"the model, which reads English, does not know {words}{more}"
    if memory is not None:
        yield from (_far(thing, memory) for thing in things(text) if _is_far(thing, memory.recall))


def _is_far(thing: str, recall: Recall) -> bool:
    """Whether a thing is far from each concept that the network was trained on."""
    encoded = load_text_encoder().encode([thing])
    keys, bags = (F.normalize(x.float().cpu(), dim=1) for x in (recall.keys, recall.bags))
    near = NEARNESS * encoded.sentence @ keys.T + NEARNESS_OF_BAGS * encoded.bag @ bags.T  # (1, M)
    return float(near.max()) < FAR * (NEARNESS + NEARNESS_OF_BAGS)


def _far(thing: str, memory: _Memory) -> str:
    recall, names = memory
    said = f'"{_short(thing)}" is far from all that the model was trained on'
    if len(names) != len(recall.keys):
        return said
    encoded, device = load_text_encoder().encode([thing]), recall.keys.device
    with torch.no_grad():
        shares = recall.shares(encoded.sentence.to(device), encoded.bag.to(device))[0]
    nearest = shares.topk(min(NEAREST, len(shares))).indices.tolist()
    return f"{said}; nearest are {', '.join(names[i] for i in nearest)}"


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[:SHORT]}..."

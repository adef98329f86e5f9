"""The concepts that a prompt recalls: how often they are right, by the text encoder, by words, by both.

    python -m bench.recall [--model emoji]

No picture is drawn: this is the most that a model can understand which reads by recall. For labels, for
wordings that no caption contains, and for those that are synonyms (`bench/synonyms.py`), it prints how often
a right concept is the first and among the first five, and the share of the right concepts.
"""

from __future__ import annotations

import argparse

import torch

import sfumato as sf
from sfumato.evaluation.emoji import accuracy_of, load_emoji_judge
from sfumato.models.networks.text_to_image import Recall
from sfumato.models.text.encoder import load_text_encoder
from sfumato.training.emoji import held_out_wordings


def main() -> None:
    """Measure and print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="emoji")
    model = sf.load(parser.parse_args().model)
    recall = getattr(model.network, "recall", None)
    if not isinstance(recall, Recall):
        parser.error(f"{model.name} does not read by recall")
    concepts = load_emoji_judge().concepts
    wordings = held_out_wordings(concepts)
    prompts = {
        "labels": [(concept.label, frozenset({row})) for row, concept in enumerate(concepts)],
        "wordings": [(wording.text, wording.accepted) for wording in wordings],
        "synonyms": [(wording.text, wording.accepted) for wording in wordings if wording.synonym],
    }
    for name, questions in prompts.items():
        print(f"{len(questions)} {name}")
        texts, wanted = zip(*questions, strict=True)
        encoded = load_text_encoder().encode(texts)
        no_text, no_words = torch.zeros_like(encoded.sentence), torch.zeros_like(encoded.bag)
        sides = {
            "text encoder": (encoded.sentence, no_words),
            "words": (no_text, encoded.bag),
            "both": (encoded.sentence, encoded.bag),
        }
        for how, (sentence, bag) in sides.items():
            share = recall.shares(sentence, bag)
            found = accuracy_of(share, wanted)
            mass = torch.stack([row[sorted(right)].sum() for row, right in zip(share, wanted, strict=True)])
            print(
                f"  {how:12} first {found.top_1:6.1%}  among five {found.top_5:6.1%}  "
                f"share {mass.mean().item():6.1%}"
            )


if __name__ == "__main__":
    main()

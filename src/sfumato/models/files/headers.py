"""The header of a safetensors file, compared with the file before memory is taken for its tensors."""

import json
import math
from pathlib import Path
from typing import Any

from sfumato.errors import SfumatoError

MAX_HEADER = 4_000_000  # bytes; some 30,000 tensors
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

Shapes = dict[str, tuple[int, ...]]


def read_shapes(path: Path) -> Shapes:
    """The tensors that a safetensors file holds, by its header, which must describe the file exactly.

    Raises:
        SfumatoError: the header lies, or the file is cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise SfumatoError(
                f"{path} is not a safetensors file, or is cut short: its header would have {length} bytes "
                f"of {size}"
            )
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            spans = {name: _span(entry) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SfumatoError(
                f"the header of {path} lies about its tensors: fetch the model again"
            ) from error
    end = 0
    for start, stop in sorted(spans.values()):
        if start != end:
            raise SfumatoError(f"the header of {path} lies: its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise SfumatoError(
            f"{path} holds {size - 8 - length} bytes of weights, its header says {end}: fetch the model again"
        )
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    """The bytes of one tensor; ValueError where they do not fit its shape."""
    start, stop = entry["data_offsets"]
    shape = entry["shape"]
    if not all(isinstance(n, int) and n >= 0 for n in (start, stop, *shape)):
        raise ValueError("a shape or an offset is no whole number")
    if math.prod(shape) * BYTES[entry["dtype"]] != stop - start:
        raise ValueError("a tensor has not the bytes of its shape")
    return start, stop

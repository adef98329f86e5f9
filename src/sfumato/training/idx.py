"""Reading the IDX format of MNIST: a magic number, big-endian sizes, then the bytes."""

import math
import struct

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import SfumatoError

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4


def parse_idx(content: bytes, name: str) -> Tensor:
    """The tensor of an IDX file of unsigned bytes.

    Args:
        content: the decompressed file.
        name: the file's name in errors.

    Returns:
        uint8 tensor of the shape that the header states.

    Raises:
        SfumatoError: not IDX, another element type, cut short, or longer than its header says.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise SfumatoError(f"{name} is not an IDX file: it does not begin with two zero bytes")
    kind, dimensions = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise SfumatoError(
            f"{name} holds elements of IDX type 0x{kind:02x}; only unsigned bytes (0x08) are read"
        )
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise SfumatoError(f"{name} states {dimensions} dimensions; 1 to {_MAX_DIMENSIONS} are read")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise SfumatoError(f"{name} is cut short inside its header")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise SfumatoError(f"{name} has {len(content)} bytes, but its header states {expected}")
    return torch.from_numpy(np.frombuffer(content, np.uint8)[start:].reshape(shape).copy())

"""Pictures in and out of files: reading, masks, writing with the recipe inside, grids, animations.

Contract: a picture is a float32 tensor (1,C,H,W) or (C,H,W) in [-1, 1], C = 1 (grey) or 3 (RGB); sizes are
(H, W). A bad file or option is a UsageError before anything is written. A folder that is missing or not
writable is a SfumatoError. A file appears whole under its name or not at all.
"""

from sfumato.pictures.animation import save_animation
from sfumato.pictures.files import check_destination
from sfumato.pictures.fitting import Fit
from sfumato.pictures.given import PictureSource
from sfumato.pictures.grid import grid, labelled_grid
from sfumato.pictures.metadata import read_metadata
from sfumato.pictures.read import Size, is_animated, picture_size, read_mask, read_picture
from sfumato.pictures.write import (
    check_encodable,
    encode_picture,
    pixels_digest,
    save_picture,
    to_image,
    to_uint8,
)

__all__ = [
    "Fit",
    "Size",
    "PictureSource",
    "check_destination",
    "check_encodable",
    "encode_picture",
    "grid",
    "is_animated",
    "labelled_grid",
    "picture_size",
    "pixels_digest",
    "read_mask",
    "read_metadata",
    "read_picture",
    "save_animation",
    "save_picture",
    "to_image",
    "to_uint8",
]

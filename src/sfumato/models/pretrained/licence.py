"""What DeepFloyd's licence asks to do to every picture that leaves: the safety checker and the watermark.

Both are of the folder, and work as diffusers' IFPipeline has them: on 8 bits a value, the checker first. They
come into memory with the first pictures that leave. What goes from stage to stage stays as it is.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.errors import ModelUnavailableError
from sfumato.models.pretrained.loading import Folder, check_network, load_feature_extractor, load_network

CHECKER, EXTRACTOR, WATERMARK = "safety_checker", "feature_extractor", "watermarker"


class LicenceFilters:
    """The filters of a folder, checked already when the model is loaded."""

    def __init__(self, folder: Folder) -> None:
        """Refuse a folder that names filters and lacks them: ModelUnavailableError."""
        self.folder = folder
        self.checks, self.marks = (part in folder.components for part in (CHECKER, WATERMARK))
        needed = [CHECKER, EXTRACTOR] * self.checks + [WATERMARK] * self.marks
        for part in needed:
            if not folder.has(part):
                raise ModelUnavailableError(
                    f"there is no {folder.path / part}, which the model's licence asks for: fetch it again"
                )
        if self.checks:
            self._prepare = load_feature_extractor(folder, EXTRACTOR)
            check_network(folder, CHECKER)
        if self.marks:
            check_network(folder, WATERMARK)

    @cached_property
    def _checker(self) -> Any:
        return load_network(self.folder, CHECKER, device="cpu", dtype=torch.float32)

    @cached_property
    def _mark(self) -> Any:
        return load_network(self.folder, WATERMARK, device="cpu", dtype=torch.float32)

    def __call__(self, pictures: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) in [-1, 1] as they may leave; black where the checker objects."""
        device = pictures.device
        shown = ((pictures / 2 + 0.5).clamp(0, 1)).float().cpu().permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
        if self.checks:
            pixels = self._prepare(_eight_bits(shown), return_tensors="pt").pixel_values
            shown, _, _ = self._checker.to(device)(clip_input=pixels.to(device), images=shown)
        eight_bits = _eight_bits(shown)
        if self.marks:
            eight_bits = self._mark.apply_watermark(eight_bits)
        rows = torch.from_numpy(np.stack([np.asarray(picture) for picture in eight_bits]))
        return (rows.permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)


def filters_of(folder: Folder) -> LicenceFilters | None:
    """The filters of a folder; None where it has none."""
    return LicenceFilters(folder) if {CHECKER, WATERMARK} & set(folder.components) else None


def _eight_bits(shown: np.ndarray[Any, Any]) -> list[Image.Image]:
    """(B, H, W, C) in [0, 1] as pictures of 8 bits a value, as diffusers rounds."""
    return [Image.fromarray(picture) for picture in (shown * 255).round().astype("uint8")]

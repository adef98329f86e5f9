"""Model folders that a test spoils."""

import json
from pathlib import Path


def edit(folder: Path, **changes: object) -> None:
    """Other values in `model.json`."""
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

"""The folder in which sfumato keeps what it fetched or computed: data sets and embeddings of prompts."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$SFUMATO_CACHE`, else `sfumato` in `$XDG_CACHE_HOME`, else `~/.cache/sfumato`."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SFUMATO_CACHE") or f"{user}/sfumato").expanduser()

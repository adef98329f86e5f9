"""The server: the images API that the field's clients speak, and recipes, over one worker. No mathematics."""

from sfumato.apps.server.app import create_app
from sfumato.apps.server.settings import Settings

__all__ = ["Settings", "create_app"]

"""The studio: a page for people, over the same worker and queue as the server. No mathematics."""

from sfumato.apps.studio.page import mount

__all__ = ["mount"]

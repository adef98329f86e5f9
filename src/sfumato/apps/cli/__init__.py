"""The command line: a thin face. What is heavy (torch, PIL) is imported by the commands that need it."""

from sfumato.apps.cli.app import app, main

__all__ = ["app", "main"]

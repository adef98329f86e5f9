"""The sections of the report, in order."""

from sfumato.apps.report.chapters.table import CHAPTERS, Chapter

__all__ = ["CHAPTERS", "Chapter"]

"""The sections of the report and of the demo, in order."""

from sfumato.apps.report.chapters.table import DEMO, REPORT, Chapter, Contents

__all__ = ["DEMO", "REPORT", "Chapter", "Contents"]

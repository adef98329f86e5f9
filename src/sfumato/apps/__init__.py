"""Faces only: no mathematics here."""

"""Judging samples: a digit classifier, FID on its features, accuracy."""

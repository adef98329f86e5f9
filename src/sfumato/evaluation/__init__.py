"""Judging samples: classifiers of digits and emoji, FID on their features, how well illusions work."""

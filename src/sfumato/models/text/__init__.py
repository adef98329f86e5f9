"""The text encoder of our own networks."""

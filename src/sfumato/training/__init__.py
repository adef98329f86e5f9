"""Training from scratch: data, objective, loop, checkpoints."""

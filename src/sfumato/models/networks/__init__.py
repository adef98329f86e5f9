"""The networks that are trained here, and what they are made of."""

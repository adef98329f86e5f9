"""Models on disk: folders of weights, short names, folders for diffusers."""

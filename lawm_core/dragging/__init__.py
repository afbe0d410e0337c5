"""Latent actions from drags: points of a frame that are moved by hand."""

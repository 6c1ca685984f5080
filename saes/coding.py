"""Sparse coding beside autoencoders: all of `interp.coding`, under the name that `saes` gives it."""

from interp.coding import *  # noqa: F403

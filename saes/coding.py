"""Sparse coding: all of `interp.coding`, re-exported here."""

from interp.coding import *  # noqa: F403

"""Sparse arithmetic of a training step in which few latents fire. Each kernel has a plain reference."""

"""Sparse arithmetic of a training step.

Few latents fire in a step. Each kernel has a plain reference.
"""

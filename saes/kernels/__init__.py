"""The arithmetic of a training step where only few latents fire. Each kernel has a plain reference beside it."""

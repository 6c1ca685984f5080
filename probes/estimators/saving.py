"""Saving probes: safetensors and JSON, never pickle."""


class Saved:
    """Placeholder."""

"""Limits of waiting in tests: only against hanging, and far above what a loaded machine needs."""

SECONDS = 1500
"""Longest time that a test waits for a process or a thread."""

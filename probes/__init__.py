"""Linear probes of what a model represents."""

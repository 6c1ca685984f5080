"""The front door: parses with the standard library and reaches the work lazily, by name."""

"""Finished studies: each a configuration, a run, a result and its report."""

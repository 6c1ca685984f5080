"""Training: one loop for every architecture. See `saes.training.trainer`."""

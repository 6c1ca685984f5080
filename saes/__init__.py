"""Sparse autoencoders: training, judging and exchange."""

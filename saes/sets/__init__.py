"""Dictionaries of a whole model: one for each of several hooks, in one folder, trained side by side."""

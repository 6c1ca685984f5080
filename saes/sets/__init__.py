"""Sets of dictionaries: one for each of several hooks of a model, in one folder."""

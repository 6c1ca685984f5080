"""Sets of dictionaries in one folder.

There is one dictionary for each of several hooks of a model.
"""

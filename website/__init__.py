"""The documentation site: pages that are made from the code and the notebooks, its pictures and its checks.

`make docs` runs it; nothing of the toolkit imports it.
"""

"""Networks trained to be modular: neurons have places, and wires cost their length (arXiv 2305.08746)."""

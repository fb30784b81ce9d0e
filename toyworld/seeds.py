"""Which seeds are for what. Nothing is measured on a seed that anything was trained on, or chosen by.

A seed stands for one drawn scene. Ranges are half open, as Python's.
"""

TEST = range(10_000)
"""What reports measure on. Looked at by no training run."""
VALIDATION = range(10_000, 20_000)
"""What a training run looks at while it goes on, and what sizes and weights were chosen by."""
TRAIN = range(1_000_000, 1_000_000_000)
"""What models are trained on."""

"""A small drawn world with exact ground truth, and the small models that see and describe it."""

"""Training data: sources, prepared sets, splits and batches."""

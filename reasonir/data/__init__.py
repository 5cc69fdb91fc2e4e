"""From sources of any kind to prepared sets, and from those to batches."""

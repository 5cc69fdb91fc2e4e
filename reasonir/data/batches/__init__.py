"""From prepared rows to batches: order, loader, collation."""

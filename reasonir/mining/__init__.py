"""Hard negatives, found by search."""

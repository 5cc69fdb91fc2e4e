"""The exact training step: segments kept or recomputed, repeated when memory runs out."""

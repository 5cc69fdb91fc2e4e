"""Exact training step: micro-batches stored or recomputed, retried when memory runs out."""

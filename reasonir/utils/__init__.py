"""Helpers for files, progress, memory, plots and text, independent of retrieval."""

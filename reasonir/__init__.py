"""Train and evaluate retrievers that must reason: one composed, tracked, resumable run per command."""

__version__ = "0.1.0"

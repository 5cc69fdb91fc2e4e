"""Models from Python: load, retrieve, rerank, prune, and the pipeline of all three."""

"""Backbones and heads: from token ids to embeddings, and from embeddings to scores."""

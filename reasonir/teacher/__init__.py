"""Scores of a model that others learn from."""

"""Splits without leaks."""

"""Dividing queries without leaks."""

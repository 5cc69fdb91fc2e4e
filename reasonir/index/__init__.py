"""Searching: one index a file, one YAML each in conf/index."""

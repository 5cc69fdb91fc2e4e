"""Heads: one file each, one YAML each in conf/model/head."""

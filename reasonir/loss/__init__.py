"""Objectives: one file each, one YAML each in conf/loss."""

"""Evaluation: metrics, significance tests, and benchmarks, one per file with one YAML each in conf/eval."""

"""Evaluation: metrics, tests of significance, and one benchmark a file with one YAML each in conf/eval."""

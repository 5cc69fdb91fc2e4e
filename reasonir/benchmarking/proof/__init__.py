"""Proof of a machine: tests and benchmarks in processes of their own, and their report."""

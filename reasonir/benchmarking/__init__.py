"""Benchmark of training steps (reasonir.bench): peers, one per file, measurements and plots."""

"""Hydra sweeps: one process per job, job records, summary."""

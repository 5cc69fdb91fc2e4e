"""Trainers that reasonir.bench times against each other: one file each."""

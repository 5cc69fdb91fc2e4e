"""Files of a run's folder: writing, locking and reading them back."""

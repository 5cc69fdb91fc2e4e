"""Experiment tracking in MLflow: parameters, metrics, artifacts, models, views."""

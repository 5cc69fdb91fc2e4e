"""Tracked runs in MLflow: parameters, metrics, artifacts, views."""

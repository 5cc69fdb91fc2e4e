"""Fixtures of several tests of tracking."""

import pytest

from reasonir.tracking import outbox


@pytest.fixture
def hurried(monkeypatch):
    """Calls to MLflow wait for a locked database a fraction of a second only."""
    monkeypatch.setattr(outbox, "PATIENCE", 0.2)
    monkeypatch.setattr(outbox, "LAST_PATIENCE", 0.4)

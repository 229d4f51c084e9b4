"""Tests look at what is measured and that it is right, not how exactly: each call is repeated once."""

import pytest

from benchmarks import measuring


@pytest.fixture(autouse=True)
def once(monkeypatch):
    monkeypatch.setattr(measuring, "WARM_UP", 1)
    monkeypatch.setattr(measuring, "LEAST", 1)

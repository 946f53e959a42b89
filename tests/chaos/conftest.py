"""A gateway in a process of its own that much is done to, in front of an upstream that answers every path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.faulty_upstream import FaultyUpstream


@pytest.fixture(autouse=True)
def _canary(monkeypatch):
    monkeypatch.setenv("CANARY", "sk-upstream")


@pytest.fixture
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as server:
        yield server

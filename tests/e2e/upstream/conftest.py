"""Two upstreams: tests make the first one misbehave."""

from __future__ import annotations

import pytest
from tests.servers.faulty_upstream import FaultyUpstream


@pytest.fixture
def bad():
    with FaultyUpstream() as upstream:
        yield upstream


@pytest.fixture
def good():
    with FaultyUpstream() as upstream:
        yield upstream

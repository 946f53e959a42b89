"""What the whole run shares: the option of `make golden`, and fast tests before slow ones under one summary."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected numbers in tests/golden")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests last, after the order was drawn: what is quick to know comes first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)

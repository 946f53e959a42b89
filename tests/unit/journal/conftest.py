"""One journal on each database: what holds for one holds for the other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, Table, select

from prefroute.journal import Journal, open_database, open_journal


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of one kind after the other."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    return str(request.getfixturevalue("postgres").empty_database())


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    with open_journal(url) as opened:
        yield opened


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The database without a writer, as commands use it."""
    opened = open_database(url)
    yield opened
    opened.dispose()


@pytest.fixture
def rows_of() -> Callable[[Engine, Table], list[dict[str, object]]]:
    """Reads a table whole, each row as a dict."""

    def read(engine: Engine, table: Table) -> list[dict[str, object]]:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    return read

"""How many of the tokens read came from the upstream's prompt cache; not known of the rows that are there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("requests", sa.Column("tokens_cached", sa.BigInteger))

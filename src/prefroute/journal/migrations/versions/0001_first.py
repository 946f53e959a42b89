"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make requests, attempts, texts and feedback, then what belongs to the gateway itself."""
    _make_requests()
    op.create_table(
        "attempts",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("n", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("latency_s", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "texts",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("prompt", sa.Text),
        sa.Column("embedding", sa.LargeBinary),
        sa.Column("embedder", sa.Text),
    )
    op.create_table(
        "feedback",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text),
        sa.Column("given_at", sa.Double, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("preferred", sa.Text),
    )
    _make_keys_and_instances()


def _make_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("key_id", "requested", "route", "model", "chosen", "router")),
        sa.Column("win_rate", sa.Double),
        sa.Column("scores", sa.Text),
        sa.Column("threshold", sa.Double),
        sa.Column("propensity", sa.Double),
        sa.Column("reason", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("is_stream", sa.Boolean, nullable=False),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("usage_source", sa.Text),
        *(sa.Column(name, sa.Double) for name in ("cost_usd", "scoring_s", "latency_s", "first_token_s")),
        sa.Column("prompt_hash", sa.Text),
        sa.Column("n_chars", sa.BigInteger),
        sa.Column("running_in", sa.Text),
    )
    op.create_index("requests_started_at", "requests", ["started_at"])
    is_running = sa.text("running_in IS NOT NULL")
    op.create_index(
        "requests_running_in", "requests", ["running_in"], sqlite_where=is_running, postgresql_where=is_running
    )


def _make_keys_and_instances() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("routes", sa.Text),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("rights", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )
    op.create_table(
        "instances",
        sa.Column("instance", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
    )
    revisions = op.create_table(
        "revisions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("n", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(revisions, [{"name": "keys", "n": 0}])

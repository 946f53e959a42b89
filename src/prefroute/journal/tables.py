"""The journal's tables, the same on SQLite and PostgreSQL (docs/how-to/journal.md describes the columns).

The door is the tables themselves. Nothing here talks to a database; `migrations` makes the tables, and a test compares
what they make with what stands here.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

__all__ = ["api_keys", "attempts", "feedback", "instances", "metadata", "requests", "revisions", "texts"]

metadata = MetaData()

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("started_at", Double, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("key_id", Text),
    Column("requested", Text),
    Column("route", Text),
    Column("model", Text),
    Column("chosen", Text),
    Column("router", Text),
    Column("win_rate", Double),
    Column("scores", Text),  # JSON object, model -> expected quality
    Column("threshold", Double),
    Column("propensity", Double),
    Column("reason", Text),
    Column("status", Integer),
    Column("error", Text),
    Column("is_stream", Boolean, nullable=False),
    Column("tokens_in", BigInteger),
    Column("tokens_cached", BigInteger),  # of `tokens_in`; NULL where the upstream did not say
    Column("tokens_out", BigInteger),
    Column("usage_source", Text),
    Column("cost_usd", Double),
    Column("scoring_s", Double),
    Column("latency_s", Double),
    Column("first_token_s", Double),
    Column("prompt_hash", Text),
    Column("n_chars", BigInteger),
    Column("running_in", Text),  # the instance that serves it; NULL once it has ended
    Index("requests_started_at", "started_at"),
    # partial: only what runs now is in it, so that finding what a dead process left costs nothing
    Index(
        "requests_running_in",
        "running_in",
        sqlite_where=text("running_in IS NOT NULL"),
        postgresql_where=text("running_in IS NOT NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("n", SmallInteger, primary_key=True, autoincrement=False),  # 0 for the first
    Column("model", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer),
    Column("latency_s", Double, nullable=False),
    sqlite_with_rowid=False,
)

# apart from `requests`, so that deleting and redacting text touches nothing else and reports never read past it
texts = Table(
    "texts",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("prompt", Text),
    Column("embedding", LargeBinary),  # float16, little-endian
    Column("embedder", Text),
)

feedback = Table(
    "feedback",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("key_id", Text),
    Column("given_at", Double, nullable=False),
    Column("score", Double),
    Column("preferred", Text),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret
    Column("routes", Text),  # JSON list; NULL allows every name
    Column("requests_per_minute", Integer),
    Column("rights", Text, nullable=False),  # JSON list
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)

instances = Table(
    "instances",
    metadata,
    Column("instance", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("beats", BigInteger, nullable=False),  # goes up while the process lives
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),  # goes up with each change of what `name` stands for
)

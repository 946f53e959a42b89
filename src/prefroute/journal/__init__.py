"""The journal: what the gateway did, who asked, and what they thought of it, in SQLite or PostgreSQL.

The door is `open_journal` for a server, `open_database` and `check_database` for commands; `create_key`, `list_keys`,
`revoke_key`; the rows. This room must not know how requests are served. SQLAlchemy is imported with it, Alembic only to
migrate.
"""

from __future__ import annotations

from prefroute.journal.feedback import FeedbackResult
from prefroute.journal.journal import Journal, check_database, open_database, open_journal
from prefroute.journal.keys import RIGHTS, Key, KeyRing, create_key, list_keys, revoke_key
from prefroute.journal.redaction import PATTERNS, Redaction
from prefroute.journal.rows import AttemptRow, FeedbackRow, RequestRow
from prefroute.journal.statements import UNRECORDED, Storing

__all__ = [
    "PATTERNS",
    "RIGHTS",
    "UNRECORDED",
    "AttemptRow",
    "FeedbackResult",
    "FeedbackRow",
    "Journal",
    "Key",
    "KeyRing",
    "Redaction",
    "RequestRow",
    "Storing",
    "check_database",
    "create_key",
    "list_keys",
    "open_database",
    "open_journal",
    "revoke_key",
]

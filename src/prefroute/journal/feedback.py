"""What clients think of answers: joined to the request by its id, from its own key, once.

The door is `add_feedback`, which runs on the journal's writer so that it never waits for the writer's lock.
"""

from __future__ import annotations

from enum import Enum

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from prefroute.journal.escape import escape
from prefroute.journal.rows import FeedbackRow
from prefroute.journal.tables import feedback, requests

__all__ = ["FeedbackResult", "add_feedback"]


class FeedbackResult(Enum):
    """What became of a feedback."""

    STORED = "stored"
    UNKNOWN = "unknown"
    """There is no such request, or it is another key's: the two are told apart by nobody but the key's owner."""
    UNFINISHED = "unfinished"
    """The request has no answer yet, got none, or one that broke off."""
    TWICE = "twice"
    """There is one for this request already, which stays."""


def add_feedback(connection: Connection, row: FeedbackRow) -> FeedbackResult:
    """Store a feedback if its request is there.

    Args:
        connection: In a transaction, which the caller commits.
        row: With a score in [0, 1] or a preferred model, not both; who calls has checked that.
    """
    assert (row.score is None) != (row.preferred is None)
    asked = escape(row.request_id)  # PostgreSQL would refuse to look for a NUL
    columns = (requests.c.key_id, requests.c.status, requests.c.error, requests.c.endpoint)
    query = select(*columns).where(requests.c.request_id == asked)
    found = connection.execute(query).one_or_none()
    if found is None or found.key_id != row.key_id:
        return FeedbackResult.UNKNOWN
    if found.status is None or found.status >= 400 or found.error is not None or found.endpoint == "route":
        return FeedbackResult.UNFINISHED
    values = {name: getattr(row, name) for name in ("request_id", "key_id", "given_at", "score", "preferred")}
    try:
        with connection.begin_nested():
            connection.execute(insert(feedback).values(values))
    except IntegrityError:
        return FeedbackResult.TWICE
    return FeedbackResult.STORED

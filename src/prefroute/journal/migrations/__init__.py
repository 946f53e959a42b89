"""Alembic's folder: `env.py` and one file in `versions` for each step of the schema.

The door is `prefroute.journal.schema.upgrade`. A step that was released is never edited; a change is a new file.
"""

from __future__ import annotations

__all__: list[str] = []

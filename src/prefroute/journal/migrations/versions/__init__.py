"""The steps of the schema, oldest first."""

from __future__ import annotations

__all__: list[str] = []

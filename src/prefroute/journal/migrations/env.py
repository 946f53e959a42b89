"""What Alembic runs for each command: migrate over the connection that `prefroute.journal.schema` hands in."""

from __future__ import annotations

from alembic import context

from prefroute.journal.tables import metadata

__all__ = ["migrate"]


def migrate() -> None:
    """Run the migrations in the transaction that the caller has begun, and leave its end to the caller."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # the name that Alembic gives it; anybody else imports it for nothing
    migrate()

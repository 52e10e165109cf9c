"""Alembic's entry: run the revisions over the connection that `exchange.migrations.run` opened."""

from alembic import context

from exchange.store import VERSION_TABLE
from exchange.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()

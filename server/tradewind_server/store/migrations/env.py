"""Alembic's entry: runs the migrations on the connection it is given."""

from alembic import context

from tradewind_server.store import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema.metadata)
with context.begin_transaction():
    context.run_migrations()

"""Alembic's entry: runs the migrations on the connection it is given."""

from alembic import context

from tradewind_server.store import schema, worker_schema

assert worker_schema  # its tables are in the metadata once it is loaded
context.configure(connection=context.config.attributes["connection"], target_metadata=schema.metadata)
with context.begin_transaction():
    context.run_migrations()

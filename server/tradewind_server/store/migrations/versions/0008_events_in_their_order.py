"""On SQLite, events stand in the order in which they are written, with an index for their key.

By key, those of each execution stood in pages of their own, which were cut again and again: a commit wrote a page or
more for each of its executions, where it now writes all its events one behind the other. All that are there are written
anew, a second for some 250,000, and need twice the file's size of room beside it meanwhile; what they leave in the file
is used for what comes.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table anew, and fill it."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return  # PostgreSQL has never done anything else
    # a table is not to be overwritten when it is dropped, as some builds do it: by temporary files as large as it is,
    # for which a folder in memory has no room
    overwriting = ("OFF", "ON", "FAST")[connection.exec_driver_sql("PRAGMA secure_delete").scalar_one()]
    connection.exec_driver_sql("PRAGMA secure_delete = OFF")
    statement = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'events'").scalar_one()
    op.rename_table("events", "events_before")
    op.execute(statement.replace("WITHOUT ROWID", ""))
    # by their executions, as they stand: to sort them takes as much room again
    op.execute("INSERT INTO events SELECT * FROM events_before")
    index = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'events_log'").scalar_one()
    op.drop_table("events_before")
    op.execute(index.replace("events_before", "events"))
    connection.exec_driver_sql(f"PRAGMA secure_delete = {overwriting}")

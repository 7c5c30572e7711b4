"""The store: events and rows in SQL, through SQLAlchemy. No rules of the language live here.

The same synchronous code serves SQLite and PostgreSQL. What is hot is our own text through `exec_driver_sql`
(`statements.py`); schema, migrations, pool and all other reads are SQLAlchemy Core. Payload bytes enter and leave SQL
in `projection.py` and `loading.py` only. SQL errors are translated here and nowhere else.
"""

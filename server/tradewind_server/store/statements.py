"""The hot statements: many rows at once, in our own text, the same code for both databases.

SQLite takes a list of tuples (`executemany`); PostgreSQL takes one array per column (`unnest`), so that a batch is one
statement whatever its size. Figures: bench/results.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa

Row = tuple[Any, ...]

#: SQLite allows 32,766 parameters in a statement.
_CHUNK = 8_000


class Dialect:
    """How the database at hand wants it."""

    def __init__(self, connection: sa.Connection) -> None:
        self.is_postgresql = connection.dialect.name == "postgresql"
        self.parameter = "%s" if self.is_postgresql else "?"


def _array_type(column: sa.Column[Any]) -> str:
    if isinstance(column.type, sa.LargeBinary):
        return "bytea[]"
    return "bigint[]" if isinstance(column.type, sa.BigInteger) else "text[]"


class Insert:
    """Insert rows of *table*, or update those whose key is there."""

    def __init__(
        self,
        table: sa.Table,
        *,
        conflict: str = "error",
        returning: Sequence[str] = (),
        changing: Sequence[str] = (),
    ) -> None:
        chosen = list(table.columns)
        key = [c.name for c in table.primary_key.columns]
        names = ", ".join(f'"{c.name}"' for c in chosen)
        # an index is rewritten when a column of it is set, even to the same value: set only what changes
        tail = _conflict(conflict, key, list(changing) or [c.name for c in chosen if c.name not in key])
        marks = ", ".join("?" for _ in chosen)
        arrays = ", ".join(f"%s::{_array_type(c)}" for c in chosen)
        self.columns = tuple(c.name for c in chosen)
        self._sqlite = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}){tail}'
        self._postgresql = f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays}){tail}'
        self._returning = " RETURNING " + ", ".join(f'"{name}"' for name in returning)

    def run_returning(self, connection: sa.Connection, rows: Sequence[Row]) -> set[Row]:
        """PostgreSQL: write *rows* and return, of those that were really written, the columns asked for."""
        arrays = tuple(list(column) for column in zip(*rows, strict=True))
        return {tuple(row) for row in connection.exec_driver_sql(self._postgresql + self._returning, arrays)}

    def run(self, connection: sa.Connection, dialect: Dialect, rows: Sequence[Row]) -> None:
        """Write *rows*, tuples in the order of `columns`."""
        if not rows:
            return
        if dialect.is_postgresql:
            connection.exec_driver_sql(self._postgresql, tuple(list(column) for column in zip(*rows, strict=True)))
        else:
            connection.exec_driver_sql(self._sqlite, list(rows))


class Update:
    """Set the columns *changing* of rows that are there, found by their primary key."""

    def __init__(self, table: sa.Table, changing: Sequence[str]) -> None:
        key = [c.name for c in table.primary_key.columns]
        # an index is rewritten when a column of it is set, even to the same value: set only what changes
        columns = [table.columns[name] for name in (*changing, *key)]
        where = " AND ".join(f'"{name}" = ?' for name in key)
        marks = ", ".join(f'"{name}" = ?' for name in changing)
        self._sqlite = f'UPDATE "{table.name}" SET {marks} WHERE {where}'
        arrays = ", ".join(f"%s::{_array_type(c)}" for c in columns)
        names = ", ".join(f'"{c.name}"' for c in columns)
        sets = ", ".join(f'"{name}" = n."{name}"' for name in changing)
        on = " AND ".join(f't."{name}" = n."{name}"' for name in key)
        self._postgresql = f'UPDATE "{table.name}" t SET {sets} FROM unnest({arrays}) AS n({names}) WHERE {on}'

    def run(self, connection: sa.Connection, dialect: Dialect, rows: Sequence[Row]) -> None:
        """Update *rows*, tuples of the changing columns and then the key."""
        if not rows:
            return
        if dialect.is_postgresql:
            connection.exec_driver_sql(self._postgresql, tuple(list(column) for column in zip(*rows, strict=True)))
        else:
            connection.exec_driver_sql(self._sqlite, list(rows))


def _conflict(conflict: str, key: list[str], others: list[str]) -> str:
    keys = ", ".join(f'"{name}"' for name in key)
    if conflict == "ignore":
        return f" ON CONFLICT ({keys}) DO NOTHING"
    if conflict == "update":
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in others)
        return f" ON CONFLICT ({keys}) DO UPDATE SET {changes}"
    return ""


class Delete:
    """Delete rows of *table* by the given key columns."""

    def __init__(self, table: sa.Table, key: Sequence[str]) -> None:
        columns = [table.columns[name] for name in key]
        where = " AND ".join(f'"{name}" = ?' for name in key)
        self._sqlite = f'DELETE FROM "{table.name}" WHERE {where}'
        arrays = ", ".join(f"%s::{_array_type(c)}" for c in columns)
        names = ", ".join(f'"{name}"' for name in key)
        on = " AND ".join(f't."{name}" = k."{name}"' for name in key)
        self._postgresql = f'DELETE FROM "{table.name}" t USING unnest({arrays}) AS k({names}) WHERE {on}'

    def run(self, connection: sa.Connection, dialect: Dialect, keys: Sequence[Row]) -> None:
        """Delete the rows with *keys*; those that are not there are no matter."""
        if not keys:
            return
        if dialect.is_postgresql:
            connection.exec_driver_sql(self._postgresql, tuple(list(column) for column in zip(*keys, strict=True)))
        else:
            connection.exec_driver_sql(self._sqlite, list(keys))


class Select:
    """Read rows of *table* by a list of keys, optionally locking them."""

    def __init__(self, table: sa.Table, key: Sequence[str], columns: Sequence[str], *, lock: str = "") -> None:
        names = ", ".join(f't."{name}"' for name in columns)
        key_names = ", ".join(f'"{name}"' for name in key)
        on = " AND ".join(f't."{name}" = k."{name}"' for name in key)
        arrays = ", ".join(f"%s::{_array_type(table.columns[name])}" for name in key)
        order = ", ".join(f't."{name}"' for name in key)
        self._width = len(key)
        joined = f'JOIN "{table.name}" t ON {on}'
        # CROSS JOIN: SQLite would otherwise read the whole table and look each row up among the keys
        self._sqlite = f"WITH k({key_names}) AS (VALUES {{marks}}) SELECT {names} FROM k CROSS {joined}"
        # ORDER BY before FOR UPDATE: rows are locked in the order of their keys
        self._postgresql = f"SELECT {names} FROM unnest({arrays}) AS k({key_names}) {joined} ORDER BY {order} {lock}"

    def run(self, connection: sa.Connection, dialect: Dialect, keys: Sequence[Row]) -> list[Row]:
        """Return the rows of *keys* that exist, in no particular order on SQLite."""
        if not keys:
            return []
        if dialect.is_postgresql:
            arrays = tuple(list(column) for column in zip(*keys, strict=True))
            return _fetch(connection.exec_driver_sql(self._postgresql, arrays))
        rows: list[Row] = []
        mark = f"({', '.join('?' * self._width)})"
        for start in range(0, len(keys), _CHUNK // self._width):
            chunk = keys[start : start + _CHUNK // self._width]
            text = self._sqlite.format(marks=", ".join([mark] * len(chunk)))
            parameters = tuple(value for key in chunk for value in key)
            rows.extend(_fetch(connection.exec_driver_sql(text, parameters)))
        return rows


def _fetch(result: sa.CursorResult[Any]) -> list[Row]:
    """Return the driver's own tuples: nothing in them needs SQLAlchemy's conversion."""
    assert result.cursor is not None
    rows = cast("list[Row]", result.cursor.fetchall())
    result.close()
    return rows

"""The hot statements: many rows at once, in our own text, the same code for both databases.

SQLite takes a list of tuples (`executemany`); PostgreSQL takes one array per column (`unnest`), so that a batch is one
statement whatever its size. Figures: bench/results.md.
"""

from __future__ import annotations

import contextlib
import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa

Row = tuple[Any, ...]

#: SQLite allows 32,766 parameters in a statement.
_CHUNK = 8_000


@contextlib.contextmanager
def sqlite_driver(connection: sa.Connection, text: str) -> Iterator[sqlite3.Connection]:
    """Give SQLite's own connection: for a batch of one, SQLAlchemy's road to it costs more than the statement.

    Raises:
        sqlalchemy.exc.DBAPIError: as on that road.
    """
    driver = cast("sqlite3.Connection", connection.connection.driver_connection)
    try:
        yield driver
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(text, None, error, sqlite3.Error, dialect=connection.dialect) from error


class Dialect:
    """How the database at hand wants it."""

    def __init__(self, connection: sa.Connection) -> None:
        self.is_postgresql = connection.dialect.name == "postgresql"


# --- arrays of PostgreSQL ------------------------------------------------------------------------

_encode_json = msgspec.json.Encoder().encode


def _integers(values: Sequence[int | None]) -> str:
    if bool in set(map(type, values)):
        # neither in JSON nor in an array are they numbers
        values = [None if v is None else int(v) for v in values]
    return f"{{{_encode_json(values)[1:-1].decode()}}}"


def _texts(values: Sequence[str | None]) -> str:
    with contextlib.suppress(TypeError):  # None is among them
        items = '","'.join(cast("Sequence[str]", values))
        if "\\" not in items and items.count('"') == 2 * (len(values) - 1):
            return f'{{"{items}"}}'
    return _literal("NULL" if v is None else _quoted(v) for v in values)


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _bytes(values: Sequence[bytes | None]) -> str:
    return _literal(["NULL" if v is None else f'"\\\\x{v.hex()}"' for v in values])


def _literal(items: Iterable[str]) -> str:
    return "{" + ",".join(items) + "}"


class _Arrays:
    """Columns as array literals, which cost a fifth of what the driver takes to convert lists item by item."""

    def __init__(self, columns: Sequence[sa.Column[Any]]) -> None:
        types = [_array_type(column) for column in columns]
        self.marks = ", ".join(f"%s::{name}" for name, _ in types)
        self._writers: list[Callable[[Any], str]] = [writer for _, writer in types]

    def of(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Return the parameters for `marks`."""
        return tuple([write(column) for write, column in zip(self._writers, zip(*rows, strict=True), strict=True)])


def _array_type(column: sa.Column[Any]) -> tuple[str, Callable[[Any], str]]:
    if isinstance(column.type, sa.LargeBinary):
        return "bytea[]", _bytes
    return ("bigint[]", _integers) if isinstance(column.type, sa.BigInteger) else ("text[]", _texts)


# --- writing -------------------------------------------------------------------------------------


class Write:
    """A statement that changes rows; made by `insert`, `update` and `delete`."""

    def __init__(self, sqlite: str, postgresql: str, arrays: _Arrays) -> None:
        self.sqlite = sqlite
        self.postgresql = postgresql
        self.arrays = arrays

    def run(self, connection: sa.Connection, dialect: Dialect, rows: Sequence[Row]) -> None:
        """Write *rows*, tuples in the order of the statement's columns."""
        if not rows:
            return
        if dialect.is_postgresql:
            connection.exec_driver_sql(self.postgresql, self.arrays.of(rows))
        else:
            with sqlite_driver(connection, self.sqlite) as driver:
                driver.executemany(self.sqlite, rows)

    def returning(self, columns: Sequence[str]) -> str:
        """Return PostgreSQL's statement that also gives, of the rows that were really written, the *columns*."""
        names = ", ".join(f'"{name}"' for name in columns)
        return f"{self.postgresql} RETURNING {names}"


def merged(parts: Iterable[tuple[Write, Sequence[Row]]]) -> tuple[str, tuple[str, ...]]:
    """Return, for PostgreSQL, one statement that carries out several, none of which touches a row of another."""
    wanted = [(write, rows) for write, rows in parts if rows]
    steps = ", ".join(f"w{n} AS ({write.postgresql})" for n, (write, _) in enumerate(wanted))
    return f"WITH {steps} SELECT 1", tuple(column for write, rows in wanted for column in write.arrays.of(rows))


def insert(table: sa.Table, *, conflict: str = "error", changing: Sequence[str] = ()) -> Write:
    """Make a statement that inserts whole rows.

    Args:
        table: where.
        conflict: what to do about a row whose key is there: "error", "ignore", or "update" its columns *changing*.
        changing: see there.
    """
    names = ", ".join(f'"{c.name}"' for c in table.columns)
    tail = _conflict(conflict, [c.name for c in table.primary_key.columns], changing)
    marks = ", ".join("?" for _ in table.columns)
    arrays = _Arrays(list(table.columns))
    return Write(
        f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}){tail}',
        f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays.marks}){tail}',
        arrays,
    )


def _conflict(conflict: str, key: list[str], changing: Sequence[str]) -> str:
    keys = ", ".join(f'"{name}"' for name in key)
    if conflict == "ignore":
        return f" ON CONFLICT ({keys}) DO NOTHING"
    if conflict == "update":
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in changing)
        return f" ON CONFLICT ({keys}) DO UPDATE SET {changes}"
    return ""


def update(table: sa.Table, changing: Sequence[str]) -> Write:
    """Make a statement that sets the columns *changing* of rows that are there; a row ends with its primary key."""
    key = [c.name for c in table.primary_key.columns]
    # an index is rewritten when a column of it is set, even to the same value: set only what changes
    columns = [table.columns[name] for name in (*changing, *key)]
    marks = ", ".join(f'"{name}" = ?' for name in changing)
    where = " AND ".join(f'"{name}" = ?' for name in key)
    arrays = _Arrays(columns)
    names = ", ".join(f'"{c.name}"' for c in columns)
    sets = ", ".join(f'"{name}" = n."{name}"' for name in changing)
    on = " AND ".join(f't."{name}" = n."{name}"' for name in key)
    return Write(
        f'UPDATE "{table.name}" SET {marks} WHERE {where}',
        f'UPDATE "{table.name}" t SET {sets} FROM unnest({arrays.marks}) AS n({names}) WHERE {on}',
        arrays,
    )


def delete(table: sa.Table, key: Sequence[str]) -> Write:
    """Make a statement that deletes rows by the columns *key*; those that are not there are no matter."""
    arrays = _Arrays([table.columns[name] for name in key])
    where = " AND ".join(f'"{name}" = ?' for name in key)
    names = ", ".join(f'"{name}"' for name in key)
    on = " AND ".join(f't."{name}" = k."{name}"' for name in key)
    return Write(
        f'DELETE FROM "{table.name}" WHERE {where}',
        f'DELETE FROM "{table.name}" t USING unnest({arrays.marks}) AS k({names}) WHERE {on}',
        arrays,
    )


# --- reading -------------------------------------------------------------------------------------


class Select:
    """Read rows of a table by a list of keys, optionally locking them.

    Args:
        table: where.
        key: its columns that are sought.
        columns: what is read.
        lock: how PostgreSQL locks the rows.
        beside: what each key has beside these columns, for *where*.
        where: what holds on PostgreSQL of the keys, k, that are sought at all: SQLite, with one writer, need not ask.
    """

    def __init__(
        self,
        table: sa.Table,
        key: Sequence[str],
        columns: Sequence[str],
        *,
        lock: str = "",
        beside: Sequence[sa.Column[Any]] = (),
        where: str = "",
    ) -> None:
        keyed = [*(table.columns[name] for name in key), *beside]
        names = ", ".join(f't."{name}"' for name in columns)
        key_names = ", ".join(f'"{column.name}"' for column in keyed)
        on = " AND ".join(f't."{name}" = k."{name}"' for name in key)
        order = ", ".join(f't."{name}"' for name in key)
        self.arrays = _Arrays(keyed)
        self._width = len(keyed)
        joined = f'JOIN "{table.name}" t ON {on}'
        # CROSS JOIN: SQLite would otherwise read the whole table and look each row up among the keys
        self._sqlite = f"WITH k({key_names}) AS (VALUES {{marks}}) SELECT {names} FROM k CROSS {joined}"
        # ORDER BY before FOR UPDATE: rows are locked in the order of their keys
        wanted = f"unnest({self.arrays.marks}) AS k({key_names})"
        condition = f" WHERE {where}" if where else ""
        self.postgresql = f"SELECT {names} FROM {wanted} {joined}{condition} ORDER BY {order} {lock}"

    def run(self, connection: sa.Connection, dialect: Dialect, keys: Sequence[Row]) -> list[Row]:
        """Return the rows of *keys* that exist, in no particular order on SQLite."""
        if not keys:
            return []
        if dialect.is_postgresql:
            return _fetch(connection.exec_driver_sql(self.postgresql, self.arrays.of(keys)))
        rows: list[Row] = []
        mark = f"({', '.join('?' * self._width)})"
        for start in range(0, len(keys), _CHUNK // self._width):
            chunk = keys[start : start + _CHUNK // self._width]
            text = self._sqlite.format(marks=", ".join([mark] * len(chunk)))
            parameters = tuple(value for key in chunk for value in key)
            with sqlite_driver(connection, text) as driver:
                rows.extend(driver.execute(text, parameters).fetchall())
        return rows


#: Keys of one query: each is a condition of its own, and SQLite nests no more than 1,000 of them.
_MOST_KEYS = 100


def narrowed(query: sa.Select[Any], columns: Sequence[sa.Column[Any]], keys: Sequence[Row]) -> Iterator[sa.Select[Any]]:
    """Give *query* for some of *keys* at a time: with only those rows whose *columns* are one of them.

    Each is looked up by itself, where SQLite would read the whole table for an IN of pairs.
    """
    for start in range(0, len(keys), _MOST_KEYS):
        some = keys[start : start + _MOST_KEYS]
        yield query.where(sa.or_(*(sa.and_(*map(operator.eq, columns, key)) for key in some)))


def _fetch(result: sa.CursorResult[Any]) -> list[Row]:
    """Return the driver's own tuples: nothing in them needs SQLAlchemy's conversion."""
    assert result.cursor is not None
    rows = cast("list[Row]", result.cursor.fetchall())
    result.close()
    return rows

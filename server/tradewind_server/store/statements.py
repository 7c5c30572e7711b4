"""The hot statements: many rows at once, in our own text, the same code for both databases.

SQLite takes a list of tuples (`executemany`); PostgreSQL takes one array per column (`unnest`), so that a batch is one
statement whatever its size. Of the few rows of a single command it takes one parameter per value: to set a hundred
arrays up takes it longer than to write what is in them (docs/adr/0024-fewer-round-trips.md).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa

Row = tuple[Any, ...]

#: SQLite allows 32,766 parameters in a statement.
_CHUNK = 8_000


# Of bytes and NULL the driver looks for an adapter in three places, with an error each, before it takes them as they
# are: half a microsecond, a tenth of a row.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), lambda none: none)


class SQLiteDriver:
    """SQLite's own connection: for a batch of one, SQLAlchemy's road to it costs more than the statement.

    What fails raises sqlalchemy.exc.DBAPIError, as on that road.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._dialect = connection.dialect
        self._connection = cast("sqlite3.Connection", connection.connection.driver_connection)

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Carry *text* out and return all its rows."""
        try:
            return self._connection.execute(text, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._told(text, error) from error

    def write(self, text: str, rows: Sequence[Row]) -> None:
        """Carry *text* out for each of *rows*, which had better be plain tuples: of others each value is asked for."""
        try:
            self._connection.executemany(text, rows)
        except sqlite3.Error as error:
            raise self._told(text, error) from error

    def _told(self, text: str, error: sqlite3.Error) -> BaseException:
        return sa.exc.DBAPIError.instance(text, None, error, sqlite3.Error, dialect=self._dialect)


class Dialect:
    """How the database at hand wants it: of one connection, as long as that is open."""

    def __init__(self, connection: sa.Connection) -> None:
        self.is_postgresql = connection.dialect.name == "postgresql"
        self._connection = connection

    @functools.cached_property
    def sqlite(self) -> SQLiteDriver:
        """Return SQLite's own connection."""
        return SQLiteDriver(self._connection)


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


class _Source:
    """Rows as statements of PostgreSQL take them: as many as there are, or a certain few."""

    def __init__(self, columns: Sequence[sa.Column[Any]]) -> None:
        types = [_type(column) for column in columns]
        arrays = ", ".join(f"%s::{name}[]" for name, _ in types)
        self._many = f"unnest({arrays})"
        self._one = f"({', '.join(f'%s::{name}' for name, _ in types)})"
        self._writers: list[Callable[[Any], str]] = [writer for _, writer in types]

    def text(self, few: int = 0) -> str:
        """Return what stands for the rows after FROM: for *few* of them, or (0) for any number."""
        return f"(VALUES {', '.join([self._one] * few)})" if few else self._many

    def parameters(self, rows: Sequence[Row], few: int = 0) -> tuple[Any, ...]:
        """Return the parameters for `text`.

        Array literals cost a fifth of what the driver takes to convert lists item by item. A number that stands for
        itself is written here, too: the driver has another type, and so another prepared statement, for each size.
        """
        if few:
            return tuple([f"{cell:d}" if isinstance(cell, int) else cell for row in rows for cell in row])
        return tuple([write(column) for write, column in zip(self._writers, zip(*rows, strict=True), strict=True)])


def _type(column: sa.Column[Any]) -> tuple[str, Callable[[Any], str]]:
    if isinstance(column.type, sa.LargeBinary):
        return "bytea", _bytes
    return ("bigint", _integers) if isinstance(column.type, sa.BigInteger) else ("text", _texts)


# --- writing -------------------------------------------------------------------------------------


class Write:
    """A statement that changes rows; made by `insert`, `update` and `delete`.

    Args:
        sqlite: for one row.
        postgresql: for those of `{rows}`.
        columns: of the rows.
        few: up to so many rows of one command PostgreSQL takes value by value.
    """

    def __init__(self, sqlite: str, postgresql: str, columns: Sequence[sa.Column[Any]], few: int = 1) -> None:
        self.sqlite = sqlite
        self.few = few
        self._postgresql = postgresql
        self._source = _Source(columns)

    def run(self, connection: sa.Connection, dialect: Dialect, rows: Sequence[Row]) -> None:
        """Write *rows*, tuples in the order of the statement's columns."""
        if not rows:
            return
        if dialect.is_postgresql:
            connection.exec_driver_sql(self.postgresql(), self.parameters(rows))
        else:
            dialect.sqlite.write(self.sqlite, rows)

    def postgresql(self, few: int = 0) -> str:
        """Return PostgreSQL's statement: for *few* rows, or (0) for any number."""
        return self._postgresql.replace("{rows}", self._source.text(few))

    def parameters(self, rows: Sequence[Row], few: int = 0) -> tuple[Any, ...]:
        """Return the parameters for `postgresql`."""
        return self._source.parameters(rows, few)

    def returning(self, columns: Sequence[str]) -> str:
        """Return PostgreSQL's statement that also gives, of the rows that were really written, the *columns*."""
        names = ", ".join(f'"{name}"' for name in columns)
        return f"{self.postgresql()} RETURNING {names}"


def merged(parts: Iterable[tuple[Write, Sequence[Row]]]) -> tuple[str, tuple[Any, ...]]:
    """Return, for PostgreSQL, one statement that carries out several, none of which touches a row of another."""
    wanted = [(write, rows) for write, rows in parts if rows]
    # all or none: were each to have its own, there would be more different statements than are kept prepared
    is_few = all(len(rows) <= write.few for write, rows in wanted)
    counted = [(write, len(rows) if is_few else 0) for write, rows in wanted]
    parameters = [write.parameters(rows, few) for (write, few), (_, rows) in zip(counted, wanted, strict=True)]
    return _merged(tuple(counted)), tuple(itertools.chain.from_iterable(parameters))


@functools.lru_cache(1024)
def _merged(counted: Sequence[tuple[Write, int]]) -> str:
    steps = ", ".join(f"w{n} AS ({write.postgresql(few)})" for n, (write, few) in enumerate(counted))
    return f"WITH {steps} SELECT 1"


def insert(table: sa.Table, *, conflict: str = "error", changing: Sequence[str] = (), few: int = 1) -> Write:
    """Make a statement that inserts whole rows.

    Args:
        table: where.
        conflict: what to do about a row whose key is there: "error", "ignore", or "update" its columns *changing*.
        changing: see there.
        few: see `Write`.
    """
    names = ", ".join(f'"{c.name}"' for c in table.columns)
    tail = _conflict(conflict, [c.name for c in table.primary_key.columns], changing)
    marks = ", ".join("?" for _ in table.columns)
    return Write(
        f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}){tail}',
        f'INSERT INTO "{table.name}" ({names}) SELECT * FROM {{rows}} AS n{tail}',
        list(table.columns),
        few,
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
    names = ", ".join(f'"{c.name}"' for c in columns)
    sets = ", ".join(f'"{name}" = n."{name}"' for name in changing)
    on = " AND ".join(f't."{name}" = n."{name}"' for name in key)
    return Write(
        f'UPDATE "{table.name}" SET {marks} WHERE {where}',
        f'UPDATE "{table.name}" t SET {sets} FROM {{rows}} AS n({names}) WHERE {on}',
        columns,
    )


def delete(table: sa.Table, key: Sequence[str]) -> Write:
    """Make a statement that deletes rows by the columns *key*; those that are not there are no matter."""
    where = " AND ".join(f'"{name}" = ?' for name in key)
    names = ", ".join(f'"{name}"' for name in key)
    on = " AND ".join(f't."{name}" = k."{name}"' for name in key)
    return Write(
        f'DELETE FROM "{table.name}" WHERE {where}',
        f'DELETE FROM "{table.name}" t USING {{rows}} AS k({names}) WHERE {on}',
        [table.columns[name] for name in key],
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
        self._source = _Source(keyed)
        self._width = len(keyed)
        joined = f'JOIN "{table.name}" t ON {on}'
        # CROSS JOIN: SQLite would otherwise read the whole table and look each row up among the keys
        self._sqlite = f"WITH k({key_names}) AS (VALUES {{marks}}) SELECT {names} FROM k CROSS {joined}"
        # ORDER BY before FOR UPDATE: rows are locked in the order of their keys
        condition = f" WHERE {where}" if where else ""
        self._postgresql = f"SELECT {names} FROM {{rows}} AS k({key_names}) {joined}{condition} ORDER BY {order} {lock}"

    def run(self, connection: sa.Connection, dialect: Dialect, keys: Sequence[Row]) -> list[Row]:
        """Return the rows of *keys* that exist, in no particular order on SQLite."""
        if not keys:
            return []
        if dialect.is_postgresql:
            return _fetch(connection.exec_driver_sql(*self.asked(keys)))
        rows: list[Row] = []
        mark = f"({', '.join('?' * self._width)})"
        for start in range(0, len(keys), _CHUNK // self._width):
            chunk = keys[start : start + _CHUNK // self._width]
            text = self._sqlite.format(marks=", ".join([mark] * len(chunk)))
            parameters = tuple(value for key in chunk for value in key)
            rows.extend(dialect.sqlite.execute(text, parameters))
        return rows

    def postgresql(self, few: int = 0) -> str:
        """Return PostgreSQL's statement: for *few* keys, or (0) for any number."""
        return self._postgresql.replace("{rows}", self._source.text(few))

    def asked(self, keys: Sequence[Row]) -> tuple[str, tuple[Any, ...]]:
        """Return PostgreSQL's statement for *keys*, and its parameters."""
        few = int(len(keys) == 1)
        return self.postgresql(few), self._source.parameters(keys, few)


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

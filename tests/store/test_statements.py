"""What the hot statements make of values, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from tradewind_server.store.database import Database
from tradewind_server.store.statements import Dialect, Row, delete, insert, merged, update

odd = sa.Table(
    "odd",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("text", sa.Text),
    sa.Column("number", sa.BigInteger),
    sa.Column("bytes", sa.LargeBinary),
    prefixes=["TEMPORARY"],
)


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    """Give a connection that alone has the table."""
    yield from _opened(database_url)


@pytest.fixture
def postgresql(postgres_url: Callable[[], str]) -> Iterator[sa.Connection]:
    """Give such a connection to PostgreSQL."""
    yield from _opened(postgres_url())


def _opened(url: str) -> Iterator[sa.Connection]:
    database = Database(url)
    with database.connect_writer() as opened:
        odd.create(opened)
        yield opened
    database.close()


_TEXTS = ("plain", "", "NULL", "null", ",", '"', '","', "\\", '\\"', "{}", "{a,b}", " a ", "a\nb", "Grüße 💶", "'; --")


_VALUES: list[list[Row]] = [
    [("plain", 1, b"x"), ("plain", 2, b"y")],
    [(text, 0, b"") for text in _TEXTS],
    *([(text, 0, b""), ("plain", 0, b"")] for text in _TEXTS),
    [(None, None, None)],
    [("a", 1, b"x"), (None, None, None), ("NULL", 2, b"NULL")],
    [("a", number, b"x") for number in (0, -1, 2**63 - 1, -(2**63))],
    [("a", True, b"x"), ("a", False, b"x"), ("a", None, b"x"), ("a", 7, b"x")],
    [("a", 1, bytes(range(256))), ("a", 1, b"\\x00"), ("a", 1, b'"')],
]


@pytest.mark.parametrize("values", _VALUES)
def test_values_come_back_as_they_were_written(connection: sa.Connection, values: list[Row]) -> None:
    """Also those that mean something in an array of PostgreSQL, and beside such."""
    rows = [(n, *value) for n, value in enumerate(values)]

    insert(odd).run(connection, Dialect(connection), rows)

    assert _found(connection) == rows


@pytest.mark.parametrize("values", _VALUES)
def test_few_values_come_back_as_they_were_written(postgresql: sa.Connection, values: list[Row]) -> None:
    """PostgreSQL takes them without arrays; two statements in one, one of which changes nothing."""
    rows = [(n, *value) for n, value in enumerate(values)]
    text, parameters = merged([(insert(odd, few=len(rows)), rows), (delete(odd, ("id", "text")), [(-1, "x")])])

    postgresql.exec_driver_sql(text, parameters)

    assert "unnest" not in text
    assert _found(postgresql) == rows


def test_few_rows_beside_many_are_written_like_many(postgresql: sa.Connection) -> None:
    """Else there would be another statement for each number of rows of each table."""
    rows: list[Row] = [(n, "a", n, b"x") for n in range(3)]
    text, parameters = merged([(insert(odd), rows), (update(odd, ("number",)), [(7, -1)])])

    postgresql.exec_driver_sql(text, parameters)

    assert "VALUES" not in text
    assert _found(postgresql) == rows


def _found(connection: sa.Connection) -> list[Row]:
    found = connection.execute(sa.select(odd).order_by(odd.c.id)).all()
    return [(*row[:3], row[3] if row[3] is None else bytes(row[3])) for row in found]

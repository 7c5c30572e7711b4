"""Statements that PostgreSQL is sent together, and what becomes of them when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa

from tradewind_server.store import ahead as module
from tradewind_server.store.ahead import Ahead
from tradewind_server.store.database import Database
from tradewind_server.store.writer import is_doubtful
from tradewind_server.testing.postgres import PrivatePostgres

#: More than a connection takes at once, in both directions.
LONG = "x" * 8_000_000


@pytest.fixture
def database(postgres_url: Callable[[], str]) -> Iterator[Database]:
    opened = Database(postgres_url())
    yield opened
    opened.close()


@pytest.fixture
def connection(database: Database) -> Iterator[sa.Connection]:
    with database.connect_writer() as opened:
        opened.exec_driver_sql("CREATE TEMPORARY TABLE t (id bigint PRIMARY KEY, word text, body bytea)")
        yield opened


@pytest.fixture
def ahead(connection: sa.Connection) -> Ahead:
    return Ahead(connection)


def _ids(connection: sa.Connection) -> list[int]:
    return list(connection.exec_driver_sql("SELECT id FROM t ORDER BY id").scalars())


def _put(ahead: Ahead, id_: str, word: str | None = "w", body: bytes | None = b"") -> Callable[[], list[tuple[object]]]:
    return ahead.send("INSERT INTO t VALUES (%s::bigint, %s::text, %s::bytea) RETURNING id", (id_, word, body))


def test_values_come_back_as_they_were_given(ahead: Ahead) -> None:
    """Text, bytes and nothing."""
    _put(ahead, "1", "grün '\\ %s $1", b"\x00\xff%s")
    _put(ahead, "-9223372036854775808", None, None)
    rows = ahead.send("SELECT id, word, body FROM t ORDER BY id")

    assert rows() == [(-9223372036854775808, None, None), (1, "grün '\\ %s $1", b"\x00\xff%s")]


def test_texts_of_a_database_that_keeps_them_otherwise(postgres: PrivatePostgres) -> None:
    """They are told to it, and by it, as UTF-8."""
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    opened = Database(postgres.dsn_of("latin"))
    with opened.connect_writer() as connection:
        assert Ahead(connection).send("SELECT %s::text, convert_to(%s::text, 'LATIN1')", ("grün", "ü"))() == [
            ("grün", b"\xfc")
        ]
    opened.close()


def test_what_is_executed_otherwise_waits_for_what_was_sent(ahead: Ahead, connection: sa.Connection) -> None:
    """Reads on the same connection see it, and what is sent after them sees theirs."""
    first = _put(ahead, "1")
    assert _ids(connection) == [1]
    connection.exec_driver_sql("INSERT INTO t VALUES (2)")

    assert ahead.send("SELECT count(*) FROM t")() == [(2,)]
    assert first() == [(1,)]


def test_first_failure_is_told_and_nothing_after_it_happens(ahead: Ahead, connection: sa.Connection) -> None:
    """What comes after it would only say that it was not carried out."""
    ahead.send("BEGIN")
    _put(ahead, "1")
    _put(ahead, "1")
    _put(ahead, "no number")
    learn = ahead.commit()

    with pytest.raises(sa.exc.IntegrityError) as refused:
        learn()

    assert not is_doubtful(refused.value)
    assert ahead.has_failed
    connection.exec_driver_sql("ROLLBACK")
    assert _ids(connection) == []


def test_commit_is_told_as_done(ahead: Ahead, connection: sa.Connection) -> None:
    """When PostgreSQL says so."""
    ahead.send("BEGIN")
    _put(ahead, "1")
    learn = ahead.commit()

    assert learn()
    assert _ids(connection) == [1]


def test_commit_of_a_failed_transaction_is_none(ahead: Ahead, connection: sa.Connection) -> None:
    """PostgreSQL answers it with ROLLBACK, which is no error to it."""
    ahead.send("BEGIN")
    _put(ahead, "no number")
    with pytest.raises(sa.exc.DataError):
        ahead.settle()

    assert not ahead.commit()()
    assert _ids(connection) == []


@pytest.mark.parametrize("is_sent_first", [True, False])
def test_text_that_postgresql_has_no_place_for_is_refused_and_not_cut_off(
    ahead: Ahead, connection: sa.Connection, is_sent_first: bool
) -> None:
    """The wire ends a text at NUL."""
    if not is_sent_first:
        _put(ahead, "1")
    with pytest.raises(sa.exc.DataError, match="NUL"):
        _put(ahead, "2", "cut\0off")

    assert ahead.has_failed
    assert _ids(connection) == ([] if is_sent_first else [1])


def test_more_statements_than_are_kept_prepared(
    ahead: Ahead, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those used last are kept, and all give what they should."""
    monkeypatch.setattr(module, "_MOST_PREPARED", 3)
    for round_ in range(2):
        for n in range(5):
            often = ahead.send("SELECT 'often'")
            assert ahead.send(f"SELECT {n} + %s::bigint", (str(round_),))() == [(n + round_,)]
            assert often() == [("often",)]

    kept = connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements WHERE NOT from_sql").scalars()
    texts = [text for text in kept if "pg_prepared" not in text]
    assert sorted(texts) == ["SELECT 'often'", "SELECT 3 + $1::bigint", "SELECT 4 + $1::bigint"]


def test_another_on_the_same_connection_prepares_its_own(ahead: Ahead, connection: sa.Connection) -> None:
    """A pool gives a connection again, with all that is prepared on it."""
    assert ahead.send("SELECT 1")() == [(1,)]
    assert Ahead(connection).send("SELECT 1")() == [(1,)]


def test_what_the_network_does_not_take_at_once_comes_in_full(ahead: Ahead) -> None:
    """PostgreSQL answers while it is still sent more: both would wait for ever, did one not read meanwhile."""
    ahead.send("BEGIN")
    replies = [ahead.send("SELECT %s::text", (LONG,)) for _ in range(3)]
    learn = ahead.commit()

    assert learn()
    assert [len(row[0]) for reply in replies for row in reply()] == [len(LONG)] * 3


def test_statement_after_a_commit_on_its_way_comes_after_it(ahead: Ahead) -> None:
    """The commit is waited for first."""
    ahead.send("BEGIN")
    _put(ahead, "1")
    learn = ahead.commit()

    assert ahead.send("SELECT count(*) FROM t")() == [(1,)]
    assert learn()


def test_connection_that_postgresql_ends_leaves_a_doubt(
    ahead: Ahead, connection: sa.Connection, postgres: PrivatePostgres
) -> None:
    """Whether the commit came to be, nobody can know from what was answered."""
    pid = ahead.send("SELECT pg_backend_pid()")()[0][0]
    ahead.send("BEGIN")
    with psycopg.connect(postgres.dsn) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    _put(ahead, "1")

    with pytest.raises(sa.exc.DBAPIError) as lost:
        ahead.commit()()

    assert lost.value.connection_invalidated
    assert is_doubtful(lost.value)
    assert ahead.has_failed
    connection.invalidate()

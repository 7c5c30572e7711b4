"""The database cuts a connection in mid-transaction: the caller is told to come back, and the server goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from grpc import StatusCode

from tests.api.harness import refused, serving
from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.runtime.batch import Batch
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.testing.postgres import PrivatePostgres


async def test_read_that_loses_its_connection_is_unavailable(
    postgres: PrivatePostgres, postgres_url: Callable[[], str]
) -> None:
    """With what the database said, and the next read has a connection of its own."""
    async with serving(postgres_url()) as served:
        runtime = served.server.runtime

        def read(connection: sa.Connection, _: Any) -> Any:
            postgres.kill_backends("tradewind")
            return connection.exec_driver_sql("SELECT 1").scalar()

        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            await runtime.read(read)
        assert await runtime.read(lambda connection, _: connection.exec_driver_sql("SELECT 1").scalar()) == 1


async def test_commit_that_loses_its_connection_can_be_repeated(
    postgres: PrivatePostgres, postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same request id, and the committer is still there."""
    lock = Transaction.lock
    async with serving(postgres_url()) as served:

        def cut(self: Transaction, *arguments: Any, **more: Any) -> Any:
            monkeypatch.setattr(Transaction, "lock", lock)
            postgres.kill_backends("tradewind")
            return lock(self, *arguments, **more)

        monkeypatch.setattr(Transaction, "lock", cut)
        async with asyncio.timeout(10):
            with refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
                await served.start(request_id="r1", external_id="e1")
            id_ = await served.start(request_id="r1", external_id="e1")
            async with served.worker() as hand:
                await hand.finish((await hand.offer()).token, 1)
            assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})


async def test_result_whose_execution_cannot_be_read_is_not_the_workers_failure(
    postgres: PrivatePostgres, postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told to come back; INTERNAL would have failed the action for good."""
    fresh = Batch._fresh

    def cut(self: Batch, id_: str, revision: int) -> Any:
        monkeypatch.setattr(Batch, "_fresh", fresh)
        postgres.kill_backends("tradewind")
        self._tx.connection.exec_driver_sql("SELECT 1")

    async with serving(postgres_url()) as served:
        id_ = await served.start()
        async with served.worker() as hand:
            token = (await hand.offer()).token
            monkeypatch.setattr(Batch, "_fresh", cut)
            await hand.finish(token, 1)
            assert await hand.receipt() == ("REFUSED", "DATABASE_UNAVAILABLE")
            await hand.finish(token, 1)
            assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})


async def test_database_that_takes_no_more_writes_can_be_asked_again(
    postgres: PrivatePostgres, postgres_url: Callable[[], str]
) -> None:
    """It has become a standby, or its disk is full: INTERNAL would have failed a worker's action for good."""
    url = postgres_url()
    setting = f'ALTER DATABASE "{sa.make_url(url).database}" SET default_transaction_read_only = '
    async with serving(url) as served, served.worker() as hand:
        # given
        id_ = await served.start()
        token = (await hand.offer()).token

        # when
        with psycopg.connect(postgres.dsn, autocommit=True) as administrator:
            administrator.execute(f"{setting} on".encode())
        postgres.kill_backends("tradewind")

        # then
        for _ in range(2):  # the connection that was cut, and the one that takes no writes
            await hand.finish(token, 1)
            assert await hand.receipt() == ("REFUSED", "DATABASE_UNAVAILABLE")
            with refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
                await served.start()

        # when
        with psycopg.connect(postgres.dsn, autocommit=True) as administrator:
            administrator.execute(f"{setting} off".encode())

        # then
        await hand.finish(token, 1)
        assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})

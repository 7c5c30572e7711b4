"""Files of human tasks in one batch, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tradewind_server.engine import commands as c
from tradewind_server.engine.attachment import Attachment
from tradewind_server.runtime import requests as r
from tradewind_server.store import schema
from tradewind_server.store.database import Database
from tradewind_server.store.records import Provenance
from tradewind_server.testing.world import World

ASK = """
version: '2.0'
ask:
  tasks:
    a: {human: {title: Look at it, users: [alice]}}
"""
ALICE = c.Person("alice")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Give a world in which somebody may be asked."""
    database = Database(database_url)
    made = World(database)
    made.deploy(ASK)
    yield made
    made.close()
    database.close()


def _request(world: World, id_: str, command: c.Command) -> r.Command:
    return r.Command(provenance=Provenance("caller:alice", "test"), target=id_, namespace="default", command=command)


def test_what_is_withdrawn_in_the_batch_that_added_it_is_not_kept(world: World) -> None:
    """Withdrawn means gone, however soon."""
    id_, at = world.start("ask"), world.clock.now()
    slip = Attachment("slip.txt", "text/plain", 3, "sha256:1")
    scan = Attachment("scan.txt", "text/plain", 4, "sha256:2")
    outcome = world.committer.step(
        [
            _request(world, id_, c.AddAttachment(at, 1, ALICE, slip, b"one")),
            _request(world, id_, c.AddAttachment(at, 1, ALICE, scan, b"four")),
            _request(world, id_, c.WithdrawAttachment(at, 1, ALICE, 1)),
        ]
    )

    assert not [answer for _, answer in outcome.answers if isinstance(answer, Exception)]
    with world.database.reading() as (connection, _):
        assert connection.execute(sa.select(schema.attachments.c.content)).scalars().all() == [b"four"]

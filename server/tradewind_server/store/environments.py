"""Stored environments: named sets of variables, copied into the executions that are started with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.errors import EnvironmentNotFound, EtagMismatch
from tradewind_server.store import schema

_table = schema.environments


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """One row."""

    namespace: str
    name: str
    description: str
    #: A JSON object; empty in lists.
    variables: bytes
    #: Rises with each change; the etag.
    revision: int
    created_at: int
    updated_at: int
    actor: str


def put(connection: sa.Connection, wanted: Environment, etag: str) -> tuple[Environment, bool]:
    """Make or replace an environment within the caller's transaction; return it, and whether it is new.

    Raises:
        EtagMismatch: *etag* is given, and it is not what is there.
    """
    found = _locked(connection, wanted.namespace, wanted.name)
    _compare(found, wanted.name, etag)
    if found is None:
        connection.execute(_table.insert().values(**dataclasses.asdict(wanted)))
        return wanted, True
    if (found.description, found.variables) == (wanted.description, wanted.variables):
        return found, False
    changed = dataclasses.replace(wanted, revision=found.revision + 1, created_at=found.created_at)
    connection.execute(
        _table.update()
        .where(_table.c.namespace == wanted.namespace, _table.c.name == wanted.name)
        .values(**dataclasses.asdict(changed))
    )
    return changed, False


def delete(connection: sa.Connection, namespace: str, name: str, etag: str) -> None:
    """Remove an environment within the caller's transaction.

    Raises:
        EnvironmentNotFound: there is none.
        EtagMismatch: *etag* is given, and it is not what is there.
    """
    found = _locked(connection, namespace, name)
    if found is None:
        raise EnvironmentNotFound(name=name, field="name")
    _compare(found, name, etag)
    connection.execute(_table.delete().where(_table.c.namespace == namespace, _table.c.name == name))


def _compare(found: Environment | None, name: str, etag: str) -> None:
    current = str(found.revision) if found is not None else ""
    if etag and etag != current:
        raise EtagMismatch(what=f"environment '{name}'", etag=etag, current=current, field="etag")


def _locked(connection: sa.Connection, namespace: str, name: str) -> Environment | None:
    if connection.dialect.name == "postgresql":
        # of two that make the same one at once, the second waits here and then finds it
        key = f"tradewind environment {namespace} {name}"
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
    return get(connection, namespace, name)


def get(connection: sa.Connection, namespace: str, name: str) -> Environment | None:
    """Return an environment, or None."""
    query = sa.select(_table).where(_table.c.namespace == namespace, _table.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _environment(row, bytes(row.variables))


def page(connection: sa.Connection, namespace: str, after: str, limit: int) -> Sequence[Environment]:
    """Return environments by name, without variables, those after a name."""
    columns = [column for column in _table.columns if column.name != "variables"]
    query = sa.select(*columns).where(_table.c.namespace == namespace, _table.c.name > after)
    return [_environment(row, b"") for row in connection.execute(query.order_by(_table.c.name).limit(limit))]


def _environment(row: Any, variables: bytes) -> Environment:
    return Environment(
        row.namespace, row.name, row.description, variables, row.revision, row.created_at, row.updated_at, row.actor
    )

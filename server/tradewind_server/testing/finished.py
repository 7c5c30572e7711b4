"""Many executions as rows, without having been run: for lists whose cost must not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.statements import Dialect, Row, insert

#: Moment of the first start, microseconds; the others follow a second apart.
FIRST = 1_700_000_000_000_000
SECOND = 1_000_000
#: Seconds that each took.
TOOK = 60

_insert = insert(schema.executions)
_insert_tags = insert(schema.execution_tags)
_BATCH = 10_000


def fill(connection: sa.Connection, count: int, namespace: str = "default") -> None:
    """Write *count* executions: 20 workflows in 4 versions, one in 50 failed, one in 97 cancelled, the last 100 open.

    The oldest 100 are of the workflow 'old' with the tag 'old', so that whoever walks from the newest meets them last.
    Each has the business key 'order-N' and one in 10 the tag 'red'. Statistics are brought up to date.
    """
    dialect = Dialect(connection)
    for start in range(0, count, _BATCH):
        numbers = range(start, min(count, start + _BATCH))
        connection.exec_driver_sql("BEGIN")
        _insert.run(connection, dialect, [_execution(number, count, namespace) for number in numbers])
        _insert_tags.run(connection, dialect, [row for number in numbers for row in _tags(number, namespace)])
        connection.exec_driver_sql("COMMIT")
    if dialect.is_postgresql:
        for table in (schema.executions, schema.execution_tags):
            # with VACUUM an index is enough to answer from, as it is on a table that lives
            connection.exec_driver_sql(f"VACUUM ANALYZE {table.name}")


def id_of(number: int) -> str:
    """Return the id of the execution *number*, from 0."""
    digits = f"{(FIRST + number * SECOND) // 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012x}"


def _execution(number: int, count: int, namespace: str) -> Row:
    state, kind, code = _end(number, count)
    created = FIRST + number * SECOND
    is_open = state == "RUNNING"
    values = {
        "id": id_of(number), "namespace": namespace, "workflow": "old" if number < 100 else f"w{number % 20}",
        "workflow_namespace": "", "definition_version": 1 + 4 * number // count, "registry_revision": 1,
        "semantics_version": 1, "root_id": id_of(number), "parent_id": "", "parent_task": 0, "parent_action": 0,
        "external_id": "", "business_key": f"order-{number}", "tags": "\n".join(tag for _, tag, _ in _tags(number, "")),
        "description": f"The order {number}", "created_by": "anonymous:", "created_at": created, "state": state,
        "message": None, "failure": _failure(kind, code), "error_kind": kind, "error_code": code, "revision": 5,
        "xid": number + 1, "updated_at": created + TOOK * SECOND,
        "finished_at": None if is_open else created + TOOK * SECOND, "output_revision": 0, "env_revision": 1,
        "detail": b'{"variables":{}}', "sensitive": "",
    }  # fmt: skip
    return tuple(values[column.name] for column in schema.executions.columns)


def _end(number: int, count: int) -> tuple[str, str, str]:
    """Return state, and kind and code of the failure."""
    if number >= count - 100:
        return "RUNNING", "", ""
    if number % 50 == 0:
        return ("FAILED", "TIMEOUT", "") if number % 100 else ("FAILED", "ACTION", "ACCOUNT_CLOSED")
    return ("CANCELLED" if number % 97 == 0 else "SUCCEEDED"), "", ""


def _failure(kind: str, code: str) -> bytes | None:
    return f'{{"kind":"{kind}","code":"{code}","task":"t","attempt":1}}'.encode() if kind else None


def _tags(number: int, namespace: str) -> Iterator[tuple[str, str, str]]:
    if number < 100:
        yield namespace, "old", id_of(number)
    if number % 10 == 0:
        yield namespace, "red", id_of(number)

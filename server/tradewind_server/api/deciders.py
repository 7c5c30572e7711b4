"""Who sees what he decides on: the callers who may decide a human task now, by its rows.

The engine decides who may (`eligibility.py`); this tells it to readers, who see sensitive values by it (ADR 20).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from tradewind_server.api.caller import caller_groups, caller_name
from tradewind_server.engine.four_eyes import did_other, separate_from
from tradewind_server.engine.state import HumanTask
from tradewind_server.store import absences, definitions, human_task_rows, loading, reads
from tradewind_server.store.human_task_rows import HumanTaskDetail
from tradewind_server.store.statements import Dialect

_decode = msgspec.json.Decoder(HumanTaskDetail).decode


def detail_of(row: Any) -> HumanTaskDetail:
    """Return who is asked, and who is excluded."""
    return _decode(bytes(row.detail))


def state_of(row: Any) -> HumanTask:
    """Return a human task as the engine knows it, but for what people filled in."""
    return human_task_rows.state_of(row, detail_of(row))


def is_one(connection: sa.Connection, dialect: Dialect, row: Any, at: int) -> bool:
    """Tell whether the caller has it, is accountable for it, or is one of those who may take it."""
    name, state = caller_name(), state_of(row)
    if not name or name in state.excluded or not state.is_open:
        return False
    if any(name in (claim.by, claim.owner) for claim in state.claims):
        return True
    if state.state == "CLAIMED" or name in state.voters or name in state.waiting:
        return False
    is_asked = name in state.asked or not caller_groups().isdisjoint(state.groups)
    absent = () if is_asked else absences.absent_for(connection, row.namespace, name, at).intersection(state.asked)
    if not is_asked and not absent:
        return False
    return _is_separate_from_none(connection, dialect, row, name, absent)


def is_news(connection: sa.Connection, dialect: Dialect, row: Any, at: int) -> bool:
    """Tell whether the caller is one of them, and it is not written down that he has been shown what it shows now."""
    is_known = detail_of(row).seen.get(caller_name()) == row.etag
    return not is_known and is_one(connection, dialect, row, at)


def _is_separate_from_none(
    connection: sa.Connection, dialect: Dialect, row: Any, name: str, absent: Collection[str]
) -> bool:
    """Tell whether neither he, nor all for whom he could stand in, did a task that this one is to be separate from."""
    spec = definitions.workflow_of(connection, reads.execution_by_id(connection, row.execution_id))
    if spec is None:
        return False
    if not separate_from(spec, row.task):
        return True
    live = loading.load(connection, dialect, row.execution_id)
    if live is None or did_other(spec, live.state, row.task_id, name):
        return False
    return not absent or any(not did_other(spec, live.state, row.task_id, user) for user in absent)

"""Four eyes, as rows tell it: who may not do an open human task, since he has done another one.

For what is only told, such as who stands in from now on: whoever does something is looked at by the engine. What was
done anew since a return counts here all the same, so that somebody may hear of it by the next reminder only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from tradewind_server.engine.eligibility import separate_from
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.store import schema
from tradewind_server.store.definitions import Registry
from tradewind_server.store.human_task_rows import HumanTaskDetail
from tradewind_server.store.records import Envelope, envelope_of

_h, _x = schema.human_tasks, schema.executions
_decode_detail = msgspec.json.Decoder(HumanTaskDetail).decode
#: Execution and action.
Key = tuple[str, int]


def kept_away(connection: sa.Connection, registry: Registry, keys: Sequence[Key], user: str) -> frozenset[Key]:
    """Return which of these human tasks *user* may not do, since he has done one that it is separate from."""
    separate = _separate(connection, registry, frozenset(keys)) if keys else {}
    others: dict[str, set[str]] = {}
    for (execution_id, _), names in separate.items():
        others.setdefault(execution_id, set()).update(names)
    done = {id_: _done(connection, id_, sorted(names), user) for id_, names in others.items()}
    return frozenset(key for key, names in separate.items() if not done[key[0]].isdisjoint(names))


def _separate(connection: sa.Connection, registry: Registry, keys: frozenset[Key]) -> dict[Key, frozenset[str]]:
    """Return the tasks from which these are separate, of those that are from any."""
    ids, actions = sorted({key[0] for key in keys}), sorted({key[1] for key in keys})
    specs = {
        row.id: _spec(connection, registry, envelope_of(row))
        for row in connection.execute(sa.select(_x).where(_x.c.id.in_(ids))).all()
    }
    query = sa.select(_h.c.execution_id, _h.c.action_id, _h.c.task)
    found = connection.execute(query.where(_h.c.execution_id.in_(ids), _h.c.action_id.in_(actions)))
    separate = {(id_, action): separate_from(specs[id_], task) for id_, action, task in found}
    return {key: names for key, names in separate.items() if names and key in keys}


def _spec(connection: sa.Connection, registry: Registry, envelope: Envelope) -> WorkflowSpec:
    home = registry.home(connection, envelope)
    spec = registry.pinned(connection, envelope.namespace, home, envelope.workflow, envelope.definition_version)
    assert spec is not None, "definitions are never removed while an execution needs them"
    return spec


def _done(connection: sa.Connection, execution_id: str, names: Iterable[str], user: str) -> frozenset[str]:
    """Return which tasks of these *names* the user has done, also together with others."""
    query = sa.select(_h.c.task, _h.c.done_by, _h.c.owner, _h.c.detail)
    query = query.where(_h.c.execution_id == execution_id, _h.c.task.in_(names))
    found = set()
    for task, done_by, owner, detail in connection.execute(query):
        voters = {name for vote in _decode_detail(detail).votes for name in (vote.by, vote.owner)}
        if user in voters or (done_by and user in (done_by, owner)):
            found.add(task)
    return frozenset(found)

"""Who stands in for somebody who is absent: he is told what the other is asked to do.

The engine knows no absences. So the rows for substitutes are added where the others are written, in that transaction.
What is open when an absence begins is told in the transaction that learns of it.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from tradewind_server.store import absences, schema
from tradewind_server.store.absences import Absence
from tradewind_server.store.statements import Dialect, Row, insert

_a, _i, _n, _e = schema.absences, schema.inbox, schema.notifications, schema.events
#: Names in one query.
_MOST = 500
#: Absences that begin in one step, and human tasks of which one substitute is told then, the most urgent ones: of the
#: others he hears with their next reminder, and all are in his inbox.
_BEGIN, _TOLD = 5, 100
#: What is told of a human task that somebody is to do.
_KINDS = ("offered", "escalated", "reminder")
#: Numbers of rows that were added later, of the absence: above those of any event's own recipients, in no order.
LATER = 10_000
_insert_later = insert(_n, conflict="ignore")


class Asked(NamedTuple):
    """A user who is told that he is asked."""

    namespace: str
    user: str
    #: Microseconds.
    at: int
    #: The notification's row.
    row: Row
    #: Of its event: recipients; who must not be told, or is told already.
    recipients: int
    kept_out: frozenset[str]


def rows(connection: sa.Connection, asked: Sequence[Asked]) -> Iterator[Row]:
    """Give a row for each substitute of those who are *asked*, in their order."""
    standing_in = _absences(connection, asked) if asked else {}
    numbers: dict[tuple[object, ...], Iterator[int]] = {}
    told: set[tuple[object, ...]] = set()
    for each in asked:
        for substitute, starts_at, ends_at in standing_in.get((each.namespace, each.user), ()):
            event = each.row[:2]
            is_told = substitute in each.kept_out or (*event, substitute) in told
            if is_told or not starts_at <= each.at < ends_at:
                continue
            told.add((*event, substitute))
            number = next(numbers.setdefault(event, itertools.count(each.recipients)))
            yield (*event, number, *each.row[3:5], f"user:{substitute}", *each.row[6:])


def _absences(connection: sa.Connection, asked: Sequence[Asked]) -> dict[tuple[str, str], list[tuple[str, int, int]]]:
    """Return for (namespace, user) who stands in, from when until when."""
    found = collections.defaultdict(list)
    wanted = sorted({(each.namespace, each.user) for each in asked})
    since = min(each.at for each in asked)
    for start in range(0, len(wanted), _MOST):
        names = sa.tuple_(_a.c.namespace, _a.c.user).in_(wanted[start : start + _MOST])
        query = sa.select(_a.c.namespace, _a.c.user, _a.c.substitute, _a.c.starts_at, _a.c.ends_at)
        query = query.where(names, _a.c.ends_at > since).order_by(_a.c.starts_at, _a.c.id)
        for namespace, user, *absence in connection.execute(query):
            found[namespace, user].append(tuple(absence))
    return found


# --- when an absence begins ----------------------------------------------------------------------


class Announced(NamedTuple):
    """What came of one step."""

    has_told: bool
    #: Others may have begun as well: a step is short, since all else waits for it.
    is_more: bool


def announce(connection: sa.Connection, dialect: Dialect, now: int) -> Announced:
    """Tell the substitutes of some absences that have begun what is open."""
    begun = absences.take_begun(connection, now, _BEGIN)
    return Announced(tell(connection, dialect, begun, now), len(begun) == _BEGIN)


def tell(connection: sa.Connection, dialect: Dialect, begun: Sequence[Absence], now: int) -> bool:
    """Tell the substitutes of those of these absences that are now; nobody hears twice of the same."""
    present = [absence for absence in begun if absence.starts_at <= now < absence.ends_at]
    # who stands in for two of those who are asked hears of it once
    found = (each for absence in present for each in of_absence(connection, absence, now))
    rows = {(row[0], action, row[5]): row for action, row in found}
    _insert_later.run(connection, dialect, list(rows.values()))
    return bool(rows)


def of_absence(connection: sa.Connection, absence: Absence, now: int) -> Iterator[tuple[int, Row]]:
    """Give a row for each open human task that the absent user was told of, and the substitute was not."""
    user, substitute = f"user:{absence.user}", f"user:{absence.substitute}"
    kept_out = _i.alias()
    mine = (kept_out.c.namespace == absence.namespace, kept_out.c.principal == f"excluded:{absence.substitute}")
    same = (getattr(kept_out.c, name) == getattr(_i.c, name) for name in ("rank", "execution_id", "action_id"))
    # OFFSET: looked up one by one; PostgreSQL would join both lists, each with each where it may not hash
    is_kept_out = sa.select(sa.literal(1)).where(*mine, *same).offset(0).exists()
    query = sa.select(_i.c.execution_id, _i.c.action_id)
    query = query.where(_i.c.namespace == absence.namespace, _i.c.principal == user, ~is_kept_out)
    keys = [(row[0], row[1]) for row in connection.execute(query.order_by(_i.c.rank).limit(_TOLD))]
    told = told_of(connection, keys, (user, substitute))
    number = LATER + int(hashlib.sha256(absence.id.encode()).hexdigest()[:8], 16)
    for execution_id, action_id in keys:
        his = told.get((execution_id, action_id, user))
        if his is not None and (execution_id, action_id, substitute) not in told:
            revision, kind = his
            yield action_id, (
                execution_id, revision, number, absence.namespace, kind, substitute, "PENDING", now, now, "", 0, 0, 0,
                0, "", "", "", 0,
            )  # fmt: skip


def told_of(
    connection: sa.Connection, keys: Sequence[tuple[str, int]], whom: Sequence[str]
) -> dict[tuple[str, int, str], tuple[int, str]]:
    """Return for (execution, action, recipient) the latest event by which he was told, and how.

    One query, however many there are: the committer waits for it. It goes through what each execution has told, once.
    """
    if not keys:
        return {}
    executions, actions = {key[0] for key in keys}, {key[1] for key in keys}
    joined = _n.join(_e, sa.and_(_n.c.execution_id == _e.c.execution_id, _n.c.revision == _e.c.revision))
    query = sa.select(_n.c.execution_id, _e.c.action_id, _n.c.recipient, _n.c.revision, _n.c.kind).select_from(joined)
    query = query.where(_n.c.execution_id.in_(sorted(executions)), _n.c.recipient.in_(whom), _n.c.kind.in_(_KINDS))
    found: dict[tuple[str, int, str], tuple[int, str]] = {}
    for execution_id, action_id, recipient, *told in connection.execute(query.where(_e.c.action_id.in_(actions))):
        key = (execution_id, action_id, recipient)
        found[key] = max(found.get(key, (0, "")), (told[0], told[1]))
    return found

"""Who stands in for somebody who is absent: he is told what the other is asked to do.

The engine knows no absences. So the rows for substitutes are added where the others are written, in that transaction.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.statements import Row

_a = schema.absences
#: Names in one query.
_MOST = 500


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
    absences = _absences(connection, asked) if asked else {}
    numbers: dict[tuple[object, ...], Iterator[int]] = {}
    told: set[tuple[object, ...]] = set()
    for each in asked:
        for substitute, starts_at, ends_at in absences.get((each.namespace, each.user), ()):
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

"""What the log says while the database does not do as it should.

Much looks every second, or more often, for what there is to do, and each of these meets the same trouble: it is told
once a minute, and its end is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import sqlalchemy as sa

from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.store.database import brief

log = logging.getLogger(__name__)

#: How often the same trouble is told.
_AGAIN_SECONDS = 60.0
#: So long nothing may have failed, and then something been answered, for it to be over.
_QUIET_SECONDS = 5.0

Trouble = DatabaseUnavailable | sa.exc.DBAPIError


class Outage:
    """The trouble that there is with the database, if there is any.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began: float | None = None
        self._last = 0.0
        #: When each was told; few, as a database has few ways to be away.
        self._told: dict[str, float] = {}

    def met(self, error: Trouble) -> None:
        """Something failed that is tried again."""
        self._last = now = self._monotonic()
        if self._began is None:
            self._began = now
        problem = error.facts["problem"] if isinstance(error, DatabaseUnavailable) else brief(error)
        if now - self._told.get(problem, -_AGAIN_SECONDS) >= _AGAIN_SECONDS:
            self._told[problem] = now
            log.warning("the database does not do as it should: %s; trying again", problem)

    def answered(self) -> None:
        """The database has done what it was asked."""
        if self._began is None or self._monotonic() - self._last < _QUIET_SECONDS:
            return
        log.info("the database does as it should again, after %.0f s", self._last - self._began)
        self._began = None
        self._told.clear()

"""A store whose commits go wrong on demand: the reply is lost, the commit never arrives, or it ends as a rollback."""

from __future__ import annotations

import functools
from collections.abc import Callable

import sqlalchemy as sa

from tradewind_server.store.writer import Writer


class LossyWriter(Writer):
    """Fails the next commits as told in `faults`, first come first served.

    They are "reply lost", "never arrived", and "rolled back": the database says so, and nothing else is wrong.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.faults: list[str] = []

    def _send_commit(self) -> Callable[[], bool]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "rolled back":
            self._send_rollback()
            return lambda: False
        learn = (lambda: False) if fault == "never arrived" else super()._send_commit()
        return functools.partial(self._lose, fault, learn) if fault else learn

    def _lose(self, fault: str, learn: Callable[[], bool]) -> bool:
        learn()
        self.connection.invalidate()
        raise sa.exc.OperationalError("COMMIT", None, Exception(fault), connection_invalidated=True)

"""A store whose commits go wrong on demand: the reply is lost, or the commit never arrives."""

from __future__ import annotations

import sqlalchemy as sa

from tradewind_server.store.unit_of_work import Writer


class LossyWriter(Writer):
    """Fails the next commits as told in `faults`, first come first served: "reply lost" or "never arrived"."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.faults: list[str] = []

    def _send_commit(self) -> bool:
        fault = self.faults.pop(0) if self.faults else ""
        is_done = fault != "never arrived" and super()._send_commit()
        if fault:
            self.connection.invalidate()
            raise sa.exc.OperationalError("COMMIT", None, Exception(fault), connection_invalidated=True)
        return is_done

"""Sub-workflows that a mock answers: they never start, and their parents hear of them as of real ones."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from tradewind_server.clock import Clock, to_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.ids import Ids
from tradewind_server.lang.values import encode
from tradewind_server.runtime import requests as r
from tradewind_server.store.projection import Changes
from tradewind_server.store.records import Message, Provenance
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.store.writer import Writer


@dataclasses.dataclass(frozen=True, slots=True)
class _Parent:
    execution_id: str
    action: int


class StandIns:
    """The sub-workflows of one world that would run, were there no mock. Not thread-safe."""

    def __init__(self, writer: Writer, clock: Clock, ids: Ids) -> None:
        self._writer = writer
        self._clock = clock
        self._ids = ids
        #: Child -> who waits for it. Without those that have ended.
        self._open: dict[str, _Parent] = {}

    def __contains__(self, child: object) -> bool:
        """Tell whether a mock stands for this child, and has not answered."""
        return child in self._open

    def add(self, child: str, parent: str, action: int) -> None:
        """Let nobody but a mock or a step answer for *child*."""
        self._open[child] = _Parent(parent, action)

    def answer(self, child: str, command: c.Answer) -> list[r.Request]:
        """End *child* as *command* says; return what its parent has to do. Nothing, if it has ended."""
        if isinstance(command, c.CompleteAction):
            return self._tell(child, "succeeded", command.result, "")
        if isinstance(command, c.FailAction):
            return self._tell(child, "failed", command.failure.details, command.failure.message)
        return self._tell(child, "cancelled", None, command.message)

    def hear(self, child: str) -> list[r.Request]:
        """Take the messages to *child*. It ends when it is cancelled; a pause is nothing to a mock."""
        with self._transaction() as (transaction, changes):
            changes.consumed = transaction.messages_to(child) or []
        kinds = {message.kind for message in changes.consumed}
        return self._tell(child, "cancelled", None, "Its parent was cancelled.") if "cancel" in kinds else []

    def _tell(self, child: str, kind: str, output: object, message: str) -> list[r.Request]:
        parent = self._open.pop(child, None)
        if parent is None:
            return []
        now = self._clock.now()
        body = encode({"action": parent.action, "output": output, "message": message})
        with self._transaction() as (_, changes):
            changes.messages.append(Message(parent.execution_id, child, 1, kind, "default", to_microseconds(now), body))
        return [r.Deliver(provenance=Provenance("system:", "Deliver"), target=parent.execution_id, at=now)]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[tuple[Transaction, Changes]]:
        transaction = self._writer.begin(self._ids.opaque(), self._clock.microseconds())
        changes = Changes(lambda: transaction.xid)
        yield transaction, changes
        transaction.write(changes, [], [])
        self._writer.commit(transaction)

"""The worker in the server's process that serves std.*, under the same leases as any other."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import traceback
from collections.abc import Mapping

import msgspec

from tradewind_server import __version__
from tradewind_server.actions.catalogue import BuiltIn
from tradewind_server.actions.outcome import ActionError, After, Caller
from tradewind_server.engine import commands as c
from tradewind_server.lang.references import defused
from tradewind_server.lang.values import decode
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.desk import Session
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.secrets import Unresolved
from tradewind_server.store.projection import OfferDetail
from tradewind_server.store.records import Provenance, QueueRow

log = logging.getLogger(__name__)
_detail = msgspec.json.Decoder(OfferDetail).decode

WORKER = "built-in"
#: Most built-in actions at once in one namespace; they wait more than they compute.
_ROOM = 10_000


class BuiltInWorker:
    """Serves every namespace, with a session for each in which it was ever needed. Belongs to the event loop."""

    def __init__(self, runtime: Runtime, actions: Mapping[str, BuiltIn]) -> None:
        self._runtime = runtime
        self._actions = {name: action for name, action in actions.items() if action.run or action.post}
        self._sessions: dict[str, Session] = {}
        #: Key of an action -> its row, its lease, and what does it.
        self._running: dict[tuple[str, int], tuple[QueueRow, r.Held, asyncio.Task[None]]] = {}
        self._beat: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take actions."""
        self._runtime.on_unserved = self._serve
        self._open("default")
        self._beat = asyncio.create_task(self._keep_leases())

    def _serve(self, namespace: str, name: str) -> None:
        """An action is queued, and no session serves it."""
        if name in self._actions and namespace not in self._sessions:
            self._open(namespace)

    def _open(self, namespace: str) -> None:
        runtime, limits = self._runtime, dict.fromkeys(self._actions, 0)
        name = f"{WORKER}@{runtime.server_id}"
        session = Session(runtime.ids.opaque(), name, namespace, limits, build=__version__, is_built_in=True)
        self._sessions[namespace] = session
        runtime.open_session(session, self)
        runtime.grant(session.id, _ROOM)

    async def stop(self) -> None:
        """Stop, and give back what runs, for another server or the next start.

        What may not be done twice is left to the end of its lease, which fails it: nobody knows how far it has come.
        """
        for session in self._sessions.values():
            self._runtime.close_session(session.id)
        tasks = [task for _, _, task in self._running.values()] + ([self._beat] if self._beat else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        released = [(held, 0) for row, held, _ in self._running.values() if row.safe_rerun]
        if released:
            provenance = Provenance("system:leases", "ReleaseActions")
            self._runtime.tell(r.Release(provenance=provenance, released=released, lost=False))

    def offer(self, row: QueueRow) -> None:
        """Do the action: at once if it only looks at its input, else in a task."""
        try:
            given = decode(self._runtime.secrets.resolved(row.input or b"{}"))
            assert isinstance(given, dict)
            outcome = self._begin(row, given)
        except ActionError as error:
            self._answer(row, _failure(row, error, self._runtime))
            return
        except Unresolved as problem:
            self._answer(row, c.FailAction(self._runtime.clock.now(), row.action_id, problem.failure))
            return
        if not isinstance(outcome, After) and not inspect.isawaitable(outcome):
            self._answer(row, c.CompleteAction(self._runtime.clock.now(), row.action_id, outcome))
            return
        held = r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)
        task = asyncio.create_task(self._later(row, outcome))
        self._running[row.execution_id, row.action_id] = (row, held, task)

    def _begin(self, row: QueueRow, given: Mapping[str, object]) -> object:
        action = self._actions[row.name]
        if action.run is not None:
            return action.run(given)
        assert action.post is not None
        detail = _detail(row.detail)
        return action.post(given, Caller(detail.workflow, row.execution_id, f"t{detail.task_id}", f"a{row.action_id}"))

    async def _later(self, row: QueueRow, outcome: object) -> None:
        command: c.Answer
        try:
            if isinstance(outcome, After):
                await asyncio.sleep(outcome.seconds)
                result = outcome.result
            else:
                assert inspect.isawaitable(outcome)
                result = await outcome
            command = c.CompleteAction(self._runtime.clock.now(), row.action_id, result)
        except ActionError as error:
            command = _failure(row, error, self._runtime)
        except Exception as error:
            # without its text, in which a secret may stand
            trace = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s failed with %s\n%s", row.name, type(error).__name__, trace)
            command = _failure(row, ActionError("The server failed; its log says why.", code="INTERNAL"), self._runtime)
        except asyncio.CancelledError:
            if self._runtime.is_draining:
                raise
            command = c.CancelAction(self._runtime.clock.now(), row.action_id, "It was told to stop.")
        self._running.pop((row.execution_id, row.action_id), None)
        if isinstance(command, c.CompleteAction) and self._actions[row.name].post is not None:
            self._leave(row)
        else:
            self._answer(row, _defused(command))

    def _leave(self, row: QueueRow) -> None:
        """The action has begun; its result comes from outside."""
        self._has_room(row)
        self._runtime.tell(
            r.Posted(
                provenance=Provenance(f"worker:{WORKER}", "PostAction"),
                target=row.execution_id,
                action_id=row.action_id,
                attempt=row.attempt,
                epoch=row.epoch,
            )
        )

    def _has_room(self, row: QueueRow) -> None:
        session = self._sessions[row.namespace]
        self._runtime.desk.settled(session.id, row.name)
        self._runtime.grant(session.id, 1)

    def _answer(self, row: QueueRow, command: c.Answer) -> None:
        self._has_room(row)
        masked = self._runtime.secrets.masked_answer(command)
        self._runtime.tell(r.result_of(row, masked, f"worker:{WORKER}", self._sessions[row.namespace].id))

    def order(self, execution_id: str, action_id: int, is_cancel: bool) -> None:
        """Stop what is being done."""
        found = self._running.get((execution_id, action_id))
        if found is not None:
            found[2].cancel()

    def go_away(self) -> None:
        """It goes down with its server."""

    async def _keep_leases(self) -> None:
        interval = min(self._runtime.settings.delivery_lease_seconds, self._runtime.settings.work_lease_seconds) / 3
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(interval)
                for namespace, session in self._sessions.items():
                    held = [held for row, held, _ in self._running.values() if row.namespace == namespace]
                    if held:
                        self._renew(session, held)

    def _renew(self, session: Session, held: list[r.Held]) -> None:
        request = r.Renew(
            provenance=Provenance("system:leases", "Beat"), session=session.id, worker=session.worker, held=held
        )

        def reply(verdicts: object) -> None:
            for mine, verdict in zip(held, verdicts if isinstance(verdicts, list) else (), strict=False):
                if verdict != r.KEEP:
                    self.order(mine.execution_id, mine.action_id, verdict == r.CANCEL)

        request.reply = reply
        self._runtime.tell(request)


def _defused(command: c.Answer) -> c.Answer:
    """Return the answer without what could be taken for a reference to a secret: it came from outside."""
    if isinstance(command, c.CompleteAction):
        return msgspec.structs.replace(command, result=defused(command.result))
    if isinstance(command, c.CancelAction):
        return command
    failure = command.failure
    details, message = defused(failure.details), str(defused(failure.message))
    return msgspec.structs.replace(command, failure=msgspec.structs.replace(failure, details=details, message=message))


def _failure(row: QueueRow, error: ActionError, runtime: Runtime) -> c.FailAction:
    failure = c.Failure("ACTION", error.message, error.code, error.details, error.retryable)
    return c.FailAction(runtime.clock.now(), row.action_id, failure)

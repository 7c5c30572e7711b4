"""One batch: many requests, one transaction.

The story is in `run`: claims first, then the locks, then each request in its turn, then the rows. A refusal is that
request's answer. Anything unexpected ends the batch as `Spoiled` and names the request at fault; nothing of the batch
has then happened, and the committer runs the others again without it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tradewind_server.clock import from_microseconds, to_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.engine import decide, evolve
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.semantics import CURRENT
from tradewind_server.engine.state import Action, ActionState, ExecutionState
from tradewind_server.errors import (
    ActionNotFound,
    ActionWithWorker,
    DefinitionNotFound,
    EnvironmentNotFound,
    ExecutionNotFound,
    LeaseLost,
    Refusal,
    TaskNotFound,
)
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.lang.values import decode
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.action_limits import Ration
from tradewind_server.runtime.cache import Cache
from tradewind_server.runtime.claims import Claims
from tradewind_server.runtime.delivery import Delivery
from tradewind_server.runtime.desk import Desk
from tradewind_server.runtime.keeping import KEPT, Keeping
from tradewind_server.runtime.messages import cancelled, command_of, refused
from tradewind_server.runtime.subscriptions import KINDS, Subscriptions
from tradewind_server.settings import Settings
from tradewind_server.store import absences, environments, loading, reads
from tradewind_server.store.definitions import Registry
from tradewind_server.store.projection import Changes
from tradewind_server.store.records import (
    Answered,
    Envelope,
    Live,
    Message,
    Program,
    Provenance,
)
from tradewind_server.store.unit_of_work import Lock, Locked, Transaction

#: A cached state that lacks more events than this is loaded anew instead of caught up.
_MAX_CATCH_UP = 200
#: So much longer by the clock may deciding take: a database that answers slowly holds up all who wait for the batch.
_CLOCK_FACTOR = 10
#: Deeper than this a start asks whether its root was cancelled: a cancellation goes from parent to child, and never
#: comes to the end of a tree that grows as fast.
_DEEP = 5


class Spoiled(Exception):
    """A request broke the batch; nothing of it has happened."""

    def __init__(self, culprit: r.Request, cause: Exception) -> None:
        super().__init__(str(cause))
        self.culprit = culprit


@dataclasses.dataclass(slots=True)
class Surroundings:
    """What a batch works with; the committer's own."""

    cache: Cache
    desk: Desk
    registry: Registry
    settings: Settings


class _TimeLeft:
    """The time for deciding. Processor time: that others have the interpreter is no reason to put off what was read."""

    def __init__(self, seconds: float) -> None:
        self._end = time.thread_time() + seconds
        now = time.monotonic()
        self._clock_end = now + _CLOCK_FACTOR * seconds
        #: Before this moment it cannot be over: no thread uses more processor time than passes by the clock.
        self._next_look = now + seconds

    def is_over(self) -> bool:
        now = time.monotonic()
        if now < self._next_look:
            return False
        # to ask each time took 5 % of the committer's time
        left = self._end - time.thread_time()
        self._next_look = now + left
        return left <= 0 or now > self._clock_end


class Batch:
    """The work of one transaction."""

    def __init__(self, around: Surroundings, transaction: Transaction, requests: Sequence[r.Request], now: datetime):
        self._around = around
        self._tx = transaction
        self._requests = requests
        self._now = now
        self._now_us = to_microseconds(now)
        self._changes = Changes(lambda: transaction.xid)
        self._lives: dict[str, Live] = {}
        expires = self._now_us + around.settings.request_id_seconds * 1_000_000
        self._claims = Claims(transaction, expires)
        self._subscriptions = Subscriptions(transaction, expires)
        self._keeping = Keeping(transaction, self._claims, around.registry)
        self._snapshot_of: list[tuple[r.Request, str, int]] = []
        self.outcome = r.Outcome()
        self._ration = Ration(transaction, around.desk.limited, self._now_us)
        self._woken = around.desk.woken
        self._delivery = Delivery(
            around.cache, around.desk, around.settings, transaction, self._changes, self.outcome, now, self._ration
        )

    # --- the story -------------------------------------------------------------------------------

    def run(self, *, wait: bool = False) -> None:
        """Decide and write everything; the caller commits.

        Raises:
            Spoiled: one request broke it.
            sqlalchemy.exc.DBAPIError: the database did.
        """
        locks = self._lock(wait=wait)
        busy = {id_ for id_, locked in locks.items() if locked.lock is Lock.BUSY}
        time_left = _TimeLeft(self._around.settings.batch_decide_ms / 1000)
        for n, request in enumerate(self._requests):
            if request.target in busy and _locks(request):
                self._defer([request])
                self.outcome.blocked.append(request)
                continue
            if n and (time_left.is_over() or self._changes.row_count > self._around.settings.batch_rows):
                self._defer(self._requests[n:])
                break
            self._one(request, locks)
        self._delivery.dispatch()
        if self._ration.limited:
            self._delivery.note_freed(self._lives)
        self._write()

    def _lock(self, *, wait: bool) -> dict[str, Locked]:
        """Lock and read all that the requests are about: nothing is learned before everything has been asked for."""
        learn_claims = self._claims.take(self._requests)
        self._ration.lock(self._requests)
        targets = [request.target for request in self._requests if _locks(request)]
        locks = self._tx.lock(targets, wait=wait, known=self._around.cache.revisions(targets))
        learn_repeats = self._claims.look_for_repeats(self._requests)
        learn_rows = self._delivery.read(self._requests)
        learn_claims()
        learn_repeats()
        learn_rows()
        return locks()

    def _defer(self, requests: Sequence[r.Request]) -> None:
        """Leave *requests* to the next batch, with nothing of theirs in this one: it may never come."""
        for request in requests:
            self._claims.drop(request)
        self.outcome.deferred.extend(requests)

    def _one(self, request: r.Request, locks: dict[str, Locked]) -> None:
        self.outcome.commands += 1
        before = len(self._changes.events)
        try:
            if request.target and _locks(request) and request.target not in self._lives:
                locked = locks.get(request.target)
                if locked is not None:
                    self._lives[request.target] = self._fresh(request.target, locked.revision)
            answer = _HANDLERS[type(request)](self, request)
        except Refusal as refusal:
            if len(self._changes.events) != before:
                raise Spoiled(request, refusal) from refusal
            answer = refusal
        except sa.exc.DBAPIError:
            raise  # a lost connection is no fault of this request
        except Exception as error:
            raise Spoiled(request, error) from error
        if answer is not _LATER:
            self.outcome.answers.append((request, answer))

    def give_back(self) -> None:
        """Undo what was reserved at the desk: the batch did not come to be."""
        for session, name in self._delivery.reserved:
            self._around.desk.give_back(session, name)
        for id_ in self._lives:
            self._around.cache.drop(id_)
        for request in self._requests:
            if isinstance(request, r.RegistryChange):
                # what was read after it in this transaction is not true
                self._around.registry.forget(request.namespace)

    def committed(self) -> None:
        """Keep the new states, now that they are true, and complete the outcome."""
        changes, outcome = self._changes, self.outcome
        self._announce()
        for live in self._lives.values():
            self._around.cache.put(live)
        self._delivery.committed()
        for request, id_, task in self._snapshot_of:
            outcome.answers.append((request, _answer(request, snapshot(self._lives[id_], task))))
        outcome.orders = changes.orders
        outcome.notified = bool(changes.notifications)
        outcome.timers = [(int(row[5]), *key) for key, row in changes.timers.items()]
        outcome.ended_timers = changes.ended_timers
        outcome.logged = list(dict.fromkeys(str(row[0]) for row in self._delivery.logs))
        outcome.targets = list(dict.fromkeys(m.target for m in changes.messages))
        # here, not on the event loop: the next batch may already queue something
        self._around.desk.note_drained(outcome.emptied - outcome.queued)
        if outcome.limited:
            self._around.desk.note_limited(outcome.limited, self._woken)
        self._around.desk.note_queued(outcome.queued)

    def _announce(self) -> None:
        for id_, touched in self._changes.touched.items():
            live, size = touched.live, touched.size_bytes
            state = live.state
            live.xid = self._tx.xid
            live.values_bytes += size
            ended = snapshot(live, 0) if state.is_final else None
            self.outcome.announcements.append(
                r.Announcement(id_, live.envelope.namespace, state.revision, state.state, touched.events, ended, size)
            )

    # --- states ----------------------------------------------------------------------------------

    def _fresh(self, id_: str, revision: int) -> Live:
        """Return the state at *revision*, which the locked row has."""
        live = self._around.cache.get(id_)
        if live is not None and live.state.revision < revision <= live.state.revision + _MAX_CATCH_UP:
            self._catch_up(live)
        if live is None or live.state.revision != revision:
            live = loading.load(self._tx.connection, self._tx.dialect, id_)
            assert live is not None, "the row is locked"
        return live

    def _catch_up(self, live: Live) -> None:
        """Evolve by the events that another server wrote."""
        state = live.state
        live.did_others = {}
        for stored in loading.read_events(self._tx.connection, state.id, state.revision, _MAX_CATCH_UP):
            event = decode_event(stored.type, stored.type_version, stored.body)
            evolve(state, event, from_microseconds(stored.at))
            live.values_bytes += len(stored.body)

    def _live(self, id_: str, namespace: str) -> Live:
        live = self._lives.get(id_)
        if live is None or live.envelope.namespace != namespace:
            raise ExecutionNotFound(execution=id_, field="execution_id")
        return live

    def _decide(self, live: Live, command: c.Command, provenance: Provenance) -> None:
        if live.program is None:
            # as of its own registry revision: it stays the same for ever
            live.program = self._resolve(live.envelope)
        before = live.state.revision
        try:
            decision = decide(live.program.spec, live.state, command, live.program.library)
        except Refusal as refusal:
            if live.state.revision != before:
                # what is remembered would be another state than the database has
                raise RuntimeError(f"{type(refusal).__name__} came after an event") from refusal
            raise
        self._changes.add(live, decision, provenance)

    def _resolve(self, envelope: Envelope) -> Program:
        registry, connection = self._around.registry, self._tx.connection
        library = registry.library(
            connection, envelope.namespace, envelope.workflow_namespace, envelope.registry_revision
        )
        spec = registry.pinned(
            connection,
            envelope.namespace,
            registry.home(connection, envelope),
            envelope.workflow,
            envelope.definition_version,
        )
        assert spec is not None, "definitions are never removed while an execution needs them"
        return Program(spec, library)

    # --- starting --------------------------------------------------------------------------------

    def _start(self, request: r.Start) -> object:
        try:
            found, was_there = self._claims.settle(request)
            if found:
                self._claims.point_to(request, found)
                return r.Started(None, found, existing=was_there)
            envelope, spec = self._envelope(request)
            command = c.StartExecution(
                request.at, request.target, request.namespace, request.workflow, request.workflow_namespace,
                request.input, self._env(request), request.params, initiator=_user(request.provenance),
                semantics_version=envelope.semantics_version,
            )  # fmt: skip
            self._begin(envelope, spec, command, request.provenance)
        except Refusal:
            self._claims.drop(request)
            raise
        self._subscriptions.notify(request.namespace, request.notified, self._now_us)
        self._snapshot_of.append((request, request.target, 0))
        return _LATER

    def _env(self, request: r.Start) -> Mapping[str, object]:
        if not request.env_name:
            return request.env
        found = environments.get(self._tx.connection, request.namespace, request.env_name)
        if found is None:
            raise EnvironmentNotFound(name=request.env_name, field="env_name")
        variables = decode(found.variables)
        assert isinstance(variables, dict), "nothing else is put"
        return variables

    def _envelope(self, request: r.Start) -> tuple[Envelope, WorkflowSpec]:
        registry, connection = self._around.registry, self._tx.connection
        revision = self._keeping.registry_revision(request.namespace)
        # a start names its workflow namespace exactly; only sub-workflows fall back to the default one
        version = request.definition_version or registry.own_version(
            connection, request.namespace, request.workflow_namespace, revision, request.workflow
        )
        envelope = Envelope(
            request.target, request.namespace, request.workflow, request.workflow_namespace, version, revision, CURRENT,
            root_id=request.target, parent_id="", parent_task=0, parent_action=0, external_id=request.external_id,
            business_key=request.business_key, tags=request.tags, description=request.description,
            created_by=request.provenance.actor, created_at=request.at,
        )  # fmt: skip
        home, name = request.workflow_namespace, request.workflow
        spec = registry.pinned(connection, request.namespace, home, name, version) if version else None
        if spec is None:
            raise DefinitionNotFound(
                what="workflow", name=request.workflow, workflow_namespace=request.workflow_namespace, field="workflow"
            )
        return envelope, spec

    def _begin(self, envelope: Envelope, spec: WorkflowSpec, command: c.StartExecution, provenance: Provenance) -> None:
        library = self._around.registry.library(
            self._tx.connection, envelope.namespace, envelope.workflow_namespace, envelope.registry_revision
        )
        decision = decide(spec, None, command, library)
        live = Live(envelope, decision.state, program=Program(spec, library), trace=provenance.trace)
        self._lives[envelope.id] = live
        self._changes.add(live, decision, provenance)

    # --- commands --------------------------------------------------------------------------------

    def _command(self, request: r.Command) -> object:
        live = self._live(request.target, request.namespace)
        try:
            if self._claims.is_repeated(request):
                self._claims.drop(request)
                return snapshot(live, _task_of(live, request))
            command, task_id = self._completed(live, request)
            self._claims.check_revival(request)
            self._decide(live, command, request.provenance)
        except Refusal:
            self._claims.drop(request)
            raise
        self._claims.note(request, live.state.revision)
        self._snapshot_of.append((request, request.target, task_id))
        return _LATER

    def _completed(self, live: Live, request: r.Command) -> tuple[c.Command, int]:
        """Return the command with what only the store knows: which task, which actions nobody works on."""
        command = request.command
        if isinstance(command, c.HumanTaskCommand):
            return self._with_absences(request.namespace, command), 0
        if isinstance(command, c.StopExecution):
            return msgspec.structs.replace(command, undelivered=self._delivery.undelivered(request.target)), 0
        if isinstance(command, c.RerunTask | c.SkipTask):
            id_ = _task_of(live, request)
            if not id_:
                raise TaskNotFound(task=request.task_name or f"t{command.task}", execution=live.state.id, field="task")
            return msgspec.structs.replace(command, task=id_), id_
        return command, 0

    def _with_absences(self, namespace: str, command: c.HumanTaskCommand) -> c.HumanTaskCommand:
        person, at = command.person, to_microseconds(command.at)
        stands_for = person.stands_for | absences.absent_for(self._tx.connection, namespace, person.user, at)
        return msgspec.structs.replace(command, person=msgspec.structs.replace(person, stands_for=stands_for))

    # --- results ---------------------------------------------------------------------------------

    def _result(self, request: r.Result) -> object:
        live = self._live(request.target, request.namespace)
        action = live.state.actions.get(request.action_id)
        if action is None:
            raise ActionNotFound(action=f"a{request.action_id}", execution=request.target)
        key = (request.target, request.action_id)
        if action.state is not ActionState.OPEN:
            return _already(live, action, request)
        by = Answered(request.worker, "", 1, None)
        if not request.epoch:
            if not action.asynchronous:
                raise ActionWithWorker(action=f"a{action.id}", name=action.name)
        else:
            by = self._delivery.check_lease(request)
            if not request.worker:
                # by a bare token: the lease knows whose it is
                request.worker = by.worker
                request.provenance = msgspec.structs.replace(request.provenance, actor=f"worker:{by.worker}")
        self._decide(live, self._within_limit(live, request.command), request.provenance)
        self._changes.answered[key] = by._replace(worker=request.worker)
        self._delivery.ended(key)
        if request.epoch:
            self._delivery.note_logs(key, request.attempt, request.epoch, request.logs)
        return r.Recorded(request.target, live.state.revision, is_new=True)

    def _posted(self, request: r.Posted) -> object:
        self._delivery.post(request)
        return None

    def _within_limit(self, live: Live, command: c.Command) -> c.Command:
        """Return the command, or a failure when the execution has collected all that it may."""
        limit = self._around.settings.max_execution_bytes
        if live.values_bytes <= limit or not isinstance(command, c.CompleteAction):
            return command
        message = f"The execution has collected more than {limit} bytes (max_execution_bytes)."
        return c.FailAction(command.at, command.action, c.Failure("LIMIT", message, "EXECUTION_TOO_LARGE"))

    def _timer(self, request: r.Timer) -> object:
        live = self._lives.get(request.target)
        if live is not None:
            self._decide(live, c.FireTimer(request.at, request.timer_id), request.provenance)
        return None

    # --- messages --------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver) -> object:
        messages = self._tx.messages_to(request.target)
        if messages and self._has_come_to_be(request.target, messages):
            self._defer([request])
            return _LATER
        consumed = {(m.source, m.source_revision, m.kind) for m in self._changes.consumed if m.target == request.target}
        for message in messages or ():
            if (message.source, message.source_revision, message.kind) in consumed:
                continue
            if message.kind == "start":
                self._start_child(message, request.at)
            elif request.target in self._lives:
                self._hear(self._lives[request.target], message, request.at)
            self._changes.consumed.append(message)
        return None

    def _has_come_to_be(self, target: str, messages: Sequence[Message]) -> bool:
        """Tell whether another server has started *target* since it was to be locked here: it hears the messages then.

        What there is no execution for any more is for nobody.
        """
        if target in self._lives or any(message.kind == "start" for message in messages):
            return False
        return bool(self._tx.lock([target])())

    def _start_child(self, message: Message, at: datetime) -> None:
        if message.target in self._lives:
            return
        body: Any = decode(message.body)
        registry, connection = self._around.registry, self._tx.connection
        name, namespace = body["workflow"], message.namespace
        workflow_namespace, revision = body["workflow_namespace"], body["registry_revision"]
        version = registry.version(connection, namespace, workflow_namespace, revision, name)
        envelope = Envelope(
            message.target, namespace, name, workflow_namespace, version, revision, body["semantics_version"],
            root_id=body["root_id"], parent_id=message.source, parent_task=body["task"], parent_action=body["action"],
            external_id="", business_key="", tags=(), description="", created_by=f"parent:{message.source}",
            created_at=at,
        )  # fmt: skip
        spec = registry.pinned(connection, namespace, registry.home(connection, envelope), name, version)
        command = c.StartExecution(
            at, message.target, namespace, name, workflow_namespace, body["input"], body["env"],
            root_id=body["root_id"], parent_id=message.source, parent_action=body["action"], spill_input=True,
            semantics_version=body["semantics_version"], initiator=body.get("initiator", ""),
            priority=body.get("priority", 0), sensitive=body.get("sensitive", ()), depth=body.get("depth", 1),
        )  # fmt: skip
        most = self._around.settings.max_execution_depth
        if command.depth > most:
            problem = f"Executions are nested {most} deep, which is all that they may be (max_execution_depth)."
            self._changes.messages.append(refused(message, self._now_us, problem))
            return
        if command.depth > _DEEP and self._is_stopping(body["root_id"]):
            self._changes.messages.append(cancelled(message, self._now_us))
            return
        try:
            if spec is None:
                raise DefinitionNotFound(what="workflow", name=name, workflow_namespace=workflow_namespace)
            cause = Provenance(f"parent:{message.source}", "StartExecution", trace=body.get("trace", ""))
            self._begin(envelope, spec, command, cause)
        except Refusal as refusal:
            self._changes.messages.append(refused(message, self._now_us, str(refusal)))

    def _is_stopping(self, root_id: str) -> bool:
        live = self._lives.get(root_id)
        state = live.state.state if live is not None else reads.state(self._tx.connection, root_id)
        return state in (ExecutionState.CANCELLING, ExecutionState.CANCELLED)

    def _hear(self, live: Live, message: Message, at: datetime) -> None:
        command = command_of(message, at, self._around.settings)
        if isinstance(command, c.StopExecution):
            command = msgspec.structs.replace(command, undelivered=self._delivery.undelivered(live.envelope.id))
        whence = "parent" if message.kind in ("pause", "resume", "cancel") else "child"
        try:
            self._decide(live, command, Provenance(f"{whence}:{message.source}", type(command).__name__))
        except Refusal:
            return  # it ended meanwhile; the message has nothing to change any more

    def _tidy(self, request: r.Tidy) -> object:
        return request.work(self._tx, {each.target for each in self._requests} | self._lives.keys())

    # --- the end ---------------------------------------------------------------------------------

    def _write(self) -> None:
        self._claims.write(self._changes.freed_keys)
        self._ration.write()
        self._delivery.forget_leases()
        self._tx.write(self._changes, self._delivery.changed(), self._delivery.logs)


def _answer(request: r.Request, of: r.Snapshot) -> object:
    return r.Started(of, of.envelope.id, existing=False) if isinstance(request, r.Start) else of


def _task_of(live: Live, request: r.Command) -> int:
    """Return the task that a rerun or skip is about, 0 for none."""
    command = request.command
    if not isinstance(command, c.RerunTask | c.SkipTask):
        return 0
    id_ = live.state.latest.get(request.task_name, 0) if request.task_name else command.task
    return id_ if id_ in live.state.tasks else 0


def _user(provenance: Provenance) -> str:
    """Return who caused it, "" when nobody is known by name."""
    kind, _, name = provenance.actor.partition(":")
    return name if kind == "caller" else ""


def _locks(request: r.Request) -> bool:
    return bool(request.target) and not isinstance(request, r.Start)


def snapshot(live: Live, task_id: int) -> r.Snapshot:
    """Return what an execution is at its newest revision; with *task_id*, the task that a rerun or skip was about."""
    s = live.state
    counts: dict[str, int] = {}
    for task in s.tasks.values() if s.is_final else ():
        counts[task.state] = counts.get(task.state, 0) + 1
    return r.Snapshot(
        live.envelope, s.state, s.message, s.revision, s.updated_at, s.finished_at, s.failure, s.output, s.input,
        s.env, counts, task_id, bool(s.sensitive),
    )  # fmt: skip


def _already(live: Live, action: Action, request: r.Result) -> object:
    """The action has ended: say whether with this very answer.

    Raises:
        LeaseLost: it ended otherwise, and this answer changes nothing.
    """
    command = request.command
    if isinstance(command, c.CompleteAction):
        same = action.state is ActionState.SUCCEEDED and (bool(action.wrappers) or action.result == command.result)
    elif isinstance(command, c.FailAction):
        said = command.failure.details if command.failure.details is not None else command.failure.message
        same = action.state is ActionState.FAILED and action.result == said
    else:
        same = action.state is ActionState.CANCELLED
    if not same:
        raise LeaseLost(action=f"a{action.id}")
    return r.Recorded(request.target, live.state.revision, is_new=False)


_LATER = object()

_HANDLERS: dict[type[r.Request], Callable[[Batch, Any], object]] = {
    r.Start: Batch._start,
    r.Command: Batch._command,
    r.Result: Batch._result,
    r.Posted: Batch._posted,
    r.Timer: Batch._timer,
    r.Deliver: Batch._deliver,
    r.Claim: lambda batch, request: batch._delivery.claim(request),
    r.Renew: lambda batch, request: batch._delivery.renew(request),
    r.Release: lambda batch, request: batch._delivery.release(request),
    r.Sweep: lambda batch, request: batch._delivery.sweep(request),
    **dict.fromkeys(KEPT, lambda batch, request: batch._keeping.carry_out(request)),
    **dict.fromkeys(KINDS, lambda batch, request: batch._subscriptions.carry_out(request)),
    r.Tidy: Batch._tidy,
}

"""A whole server in one thread, with a virtual clock: store, runtime and built-in actions, but no network.

`settle` runs everything that is due until nothing moves; `advance` jumps to the next moment at which something is due.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Literal

import sqlalchemy as sa

from tradewind_server.actions.catalogue import SIMPLE, BuiltIn, signatures
from tradewind_server.actions.outcome import ActionError, After
from tradewind_server.clock import from_microseconds, to_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.calendars import STANDARD, Calendar
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.evolve import replay
from tradewind_server.engine.state import Execution
from tradewind_server.errors import DefinitionInvalid
from tradewind_server.lang import Source, check
from tradewind_server.lang.specs import Spec, WorkflowSpec
from tradewind_server.lang.values import decode
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.alarm import Alarm
from tradewind_server.runtime.batch import Surroundings
from tradewind_server.runtime.cache import Cache
from tradewind_server.runtime.committer import Committer
from tradewind_server.runtime.desk import Desk, Session
from tradewind_server.settings import Settings
from tradewind_server.store import notifications, schema
from tradewind_server.store.absences import Absence
from tradewind_server.store.database import Database
from tradewind_server.store.definitions import Registry
from tradewind_server.store.loading import load, read_events
from tradewind_server.store.notifications import Notification
from tradewind_server.store.records import Envelope, Live, Provenance, QueueRow, StoredEvent
from tradewind_server.store.writer import Writer
from tradewind_server.testing.clock import CountedIds, VirtualClock
from tradewind_server.testing.mocks import Answer, Call, Mocks
from tradewind_server.testing.stand_ins import StandIns

_ANYBODY = Provenance("anonymous:", "test")
#: A world in which this much happens at one moment will never come to rest.
_MOST_STEPS = 20_000


class World:
    """One server's insides. Not thread-safe.

    Attributes:
        held: what workers were given: its own, where the mock says `hold` or there is none, and those of `lease`.
        unanswered: the calls that no mock and no built-in action answers; only with *mocks*.
        stand_ins: the sub-workflows that *mocks* answer.
        cache: the states that the committer remembers; a test may make it forget some.
        between: called before each batch; what it returns goes into the batch, too.
    """

    def __init__(
        self,
        database: Database,
        *,
        settings: Settings | None = None,
        actions: Mapping[str, BuiltIn] = SIMPLE,
        open_world: bool = False,
        writer: Writer | None = None,
        first_id: int = 0,
        mocks: Mocks | None = None,
        mocked_names: Iterable[str] = (),
        absent: frozenset[str] = frozenset(),
        calendars: Mapping[str, Calendar] | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.ids = CountedIds(first_id)
        self.settings = settings or Settings(batch_decide_ms=10_000)
        self.database = database
        self.desk = Desk()
        self._actions = actions
        self.registry = Registry(signatures(), open_world, self.settings, {"": STANDARD, **(calendars or {})})
        self.cache = Cache(self.settings.cache_bytes)
        self.between: Callable[[], Iterable[r.Request]] = tuple
        around = Surroundings(self.cache, self.desk, self.registry, self.settings)
        self._writer = writer or Writer(database, "world")
        self.committer = Committer(self._writer, around, self.clock, self.ids)
        self.alarm = Alarm()
        self.outcomes: list[r.Outcome] = []
        self._pending: list[r.Request] = []
        self._performed = 0
        #: Results of std.sleep and the like: (due, order, what gives the requests).
        self._later: list[tuple[int, int, Callable[[], list[r.Request]]]] = []
        self.held: dict[tuple[str, int], QueueRow] = {}
        self.unanswered: list[Call] = []
        self.stand_ins = StandIns(self._writer, self.clock, self.ids)
        self._mocks = mocks
        self._absent = absent
        #: Scheduled actions of which no answer has been decided, with mocks.
        self._calls: dict[tuple[str, int], Call] = {}
        # who begins an action that is answered from outside is not there either
        posted = {name for name, signature in signatures().items() if signature.posted}
        names = {name: 0 for name, action in actions.items() if action.run is not None}
        names |= dict.fromkeys(set(mocked_names) - posted, 0)
        self._worker = Session("built-in", "built-in", "default", names, room=1_000_000)
        self.desk.open(self._worker)
        self.desk.note_drained([("default", name, "") for name in names])

    def close(self) -> None:
        """Give the committer's connection back; the database stays open."""
        self._writer.discard()

    # --- asking ----------------------------------------------------------------------------------

    def ask(self, request: r.Request) -> object:
        """Carry out *request* and everything that follows from it now; return its answer.

        Raises:
            Refusal: the answer is one.
        """
        answer: list[object] = []
        request.reply = answer.append
        self._pending.append(request)
        self.settle()
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def deploy(
        self, *texts: str, workflow_namespace: str = "", kind: Literal["workbook", "workflows", "actions"] | None = None
    ) -> None:
        """Deploy definitions.

        Raises:
            DefinitionInvalid: they have problems.
        """
        sources: list[tuple[Source, Sequence[Spec]]] = []
        for n, text in enumerate(texts):
            source = Source(f"file{n}.yaml", text)
            checked = check([source], kind)
            errors = [p for p in checked.problems if p.severity == "error"]
            if errors:
                raise DefinitionInvalid(count=len(errors), first=errors[0].message)
            sources.append((source, [*checked.workflows, *checked.actions, *checked.forms]))
        self.ask(
            r.Deploy(
                provenance=_ANYBODY,
                namespace="default",
                workflow_namespace=workflow_namespace,
                sources=sources,
                at=self.clock.now(),
            )
        )

    def start(
        self,
        workflow: str,
        input_: Mapping[str, object] | None = None,
        *,
        env: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        request_id: str = "",
        by: str = "",
    ) -> str:
        """Start an execution, as the user *by* or anonymously, and return its id."""
        at = self.clock.now()
        request = r.Start(
            provenance=Provenance(_actor(by), "StartExecution", request_id),
            target=self.ids.execution(at),
            at=at,
            namespace="default",
            workflow=workflow,
            workflow_namespace="",
            definition_version=0,
            input=input_ or {},
            env=env or {},
            params=params or {},
            external_id="",
            business_key="",
            use_existing=False,
            tags=(),
            description="",
            digest=f"{workflow}{input_}",
        )
        started = self.ask(request)
        assert isinstance(started, r.Started)
        return started.execution_id

    def command(self, execution_id: str, command: c.Command, *, task_name: str = "", by: str = "") -> object:
        """Carry out a command on an execution, as the user *by* or anonymously."""
        provenance = Provenance(_actor(by), type(command).__name__)
        return self.ask(
            r.Command(
                provenance=provenance, target=execution_id, namespace="default", command=command, task_name=task_name
            )
        )

    def add_absence(self, user: str, substitute: str, during: timedelta) -> None:
        """Let somebody stand in for a user from now on."""
        now = self.clock.now()
        starts_at, ends_at = to_microseconds(now), to_microseconds(now + during)
        absence = Absence(f"{user} {starts_at} {substitute}", "default", user, substitute, starts_at, ends_at, "", user)
        self.ask(r.AddAbsence(provenance=Provenance(_actor(user), "AddAbsence"), absence=absence))

    def lease(self, *names: str) -> list[QueueRow]:
        """Lease all queued actions of these *names*, as a worker would that comes, takes them and stays."""
        session = Session("visitor", "visitor", "default", dict.fromkeys(names, 0), room=1_000_000)
        self.desk.open(session)
        wanted = [(name, "", 1000) for name in names]
        claim = r.Claim(
            provenance=_ANYBODY, session=session.id, worker=session.worker, namespace="default", wanted=wanted
        )
        try:
            leased = self.ask(claim)
        finally:
            # gone at once, so that later actions are queued and wait for the next lease
            self.desk.close(session.id)
        assert isinstance(leased, list)
        self.held.update({(row.execution_id, row.action_id): row for row in leased})
        return leased

    def answer(self, execution_id: str, command: c.Answer) -> object:
        """End an action: as the worker that holds it or, if nobody does, from outside."""
        lease = self.held.get((execution_id, command.action))
        attempt, epoch = (lease.attempt, lease.epoch) if lease else (0, 0)
        return self.ask(_result(execution_id, command.action, attempt, epoch, command))

    def end_stand_in(self, child: str, command: c.Answer) -> None:
        """End a sub-workflow for which a mock stands."""
        self._pending += self.stand_ins.answer(child, command)
        self.settle()

    # --- time ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Run what is due now until nothing moves.

        Raises:
            RuntimeError: it never comes to rest.
        """
        for _ in range(_MOST_STEPS):
            self._collect_due()
            self._pending.extend(self.between())
            if not self._pending:
                return
            queue, self._pending = self._pending, []
            self._note(self.committer.step(queue))
        raise RuntimeError("it never comes to rest")

    def advance(self, by: timedelta) -> None:
        """Let time pass, stopping wherever something is due."""
        end = self.clock.now() + by
        while (due := self.next_due()) is not None and from_microseconds(due) <= end:
            self.clock.advance(max(timedelta(0), from_microseconds(due) - self.clock.now()))
            self.settle()
        self.clock.advance(end - self.clock.now())

    def run_out(self, until: Callable[[], bool], limit: timedelta = timedelta(days=365)) -> bool:
        """Let time jump from one due moment to the next until *until* holds; return whether it does."""
        end = self.clock.now() + limit
        while not until():
            due = self.next_due()
            if due is None or from_microseconds(due) > end:
                return False
            self.clock.advance(max(timedelta(0), from_microseconds(due) - self.clock.now()))
            self.settle()
        return True

    def next_due(self) -> int | None:
        """Return the next moment at which something happens by itself, microseconds."""
        moments = [
            due for due in (self.alarm.next_due(), self._later[0][0] if self._later else None) if due is not None
        ]
        return min(moments, default=None)

    # --- after a loss ----------------------------------------------------------------------------

    def take_over(self) -> None:
        """Begin where another world on this database was killed: its timers, and messages on their way."""
        with self.database.reading() as (connection, _):
            columns = schema.timers.c
            timers = connection.execute(sa.select(columns.due_at, columns.execution_id, columns.timer_id)).all()
            targets = connection.execute(sa.select(schema.messages.c.target).distinct()).scalars().all()
        for due, execution_id, timer_id in timers:
            self.alarm.add(due, execution_id, timer_id)
        for target in targets:
            self._pending += self._delivered(target)
        self.settle()

    def recover(self) -> None:
        """Put back what is leased to workers that are silent, and take what is queued."""
        self.ask(r.Sweep(provenance=_ANYBODY, at=self.clock.now()))
        self.ask(self._claim([(name, "", 1_000) for name in self._worker.limits]))

    # --- looking ---------------------------------------------------------------------------------

    @property
    def moment(self) -> int:
        """How many batches have been carried out: what was seen holds as long as there is no other."""
        return len(self.outcomes)

    def state(self, execution_id: str) -> Execution:
        """Return the state of an execution as its rows tell it."""
        return self.live(execution_id).state

    def live(self, execution_id: str) -> Live:
        """Return the execution as its rows tell it."""
        with self.database.reading() as (connection, dialect):
            live = load(connection, dialect, execution_id)
        assert live is not None
        return live

    def exists(self, execution_id: str) -> bool:
        """Tell whether there is such an execution."""
        with self.database.reading() as (connection, _):
            return bool(read_events(connection, execution_id, 0, 1))

    def spec(self, execution_id: str) -> WorkflowSpec:
        """Return the workflow that an execution runs."""
        return self.spec_of(self.live(execution_id).envelope)

    def spec_of(self, envelope: Envelope) -> WorkflowSpec:
        """Return the workflow that the execution with this *envelope* runs."""
        with self.database.reading() as (connection, _):
            home = self.registry.home(connection, envelope)
            spec = self.registry.pinned(
                connection, envelope.namespace, home, envelope.workflow, envelope.definition_version
            )
        assert spec is not None
        return spec

    def events(self, execution_id: str) -> list[StoredEvent]:
        """Return the log of an execution."""
        with self.database.reading() as (connection, _):
            return read_events(connection, execution_id, 0, 1_000_000)

    def notifications(self, execution_id: str) -> list[tuple[Notification, e.NotificationRequested]]:
        """Return the outbox's rows of an execution, and the events that asked for them."""
        with self.database.reading() as (connection, _):
            found = notifications.of(connection, execution_id)
            asked = [notifications.request_of(connection, row) for row in found]
        return [(row, request[0]) for row, request in zip(found, asked, strict=True) if request is not None]

    def check_replay(self, execution_id: str, live: Live | None = None) -> None:
        """Compare the rows, which are *live* if that was loaded, with what the log gives.

        Raises:
            AssertionError: they differ.
        """
        stored = (live or self.live(execution_id)).state
        log = self.events(execution_id)
        replayed = replay((decode_event(x.type, x.type_version, x.body), from_microseconds(x.at)) for x in log)
        assert stored == replayed, f"replaying {execution_id} does not give what is stored"

    # --- within ----------------------------------------------------------------------------------

    def _collect_due(self) -> None:
        now = self.clock.microseconds()
        for execution_id, timer_id in self.alarm.pop_due(now, 1000):
            provenance = Provenance("timer:", "FireTimer")
            at = self.clock.now()
            self._pending.append(r.Timer(provenance=provenance, target=execution_id, timer_id=timer_id, at=at))
        while self._later and self._later[0][0] <= now:
            self._pending += heapq.heappop(self._later)[2]()

    def _note(self, outcome: r.Outcome) -> None:
        self.outcomes.append(outcome)
        self._pending.extend(outcome.deferred)
        self._pending.extend(outcome.follow_ups)
        for request, answer in outcome.answers:
            if request.reply is not None:
                request.reply(answer)
            elif isinstance(answer, Exception) and not isinstance(request, r.Result):
                raise answer
        for due, execution_id, timer_id in outcome.timers:
            self.alarm.add(due, execution_id, timer_id)
        for key in outcome.ended_timers:
            self.alarm.forget(*key)
        if self._mocks is not None:
            self._note_calls(outcome, self._mocks)
            self._claim_targeted(outcome)
        for target in outcome.targets:
            self._pending += self._delivered(target)
        for session, row in outcome.offers:
            if session == self._worker.id:
                self._perform(row)

    def _delivered(self, target: str) -> list[r.Request]:
        if target in self.stand_ins:
            return self.stand_ins.hear(target)
        return [r.Deliver(provenance=Provenance("system:", "Deliver"), target=target, at=self.clock.now())]

    def _note_calls(self, outcome: r.Outcome, mocks: Mocks) -> None:
        for stored in (event for announced in outcome.announcements for event in announced.events):
            if stored.type != "ActionScheduled":
                continue
            event = decode_event(stored.type, stored.type_version, stored.body)
            assert isinstance(event, e.ActionScheduled)
            call = Call(stored.execution_id, stored.task, event.index, event.name, tuple(event.wrappers), event.input)
            if event.kind == "workflow":
                self._note_child(call, event, mocks.answer(call))
            elif not event.asynchronous:
                self._calls[stored.execution_id, event.action] = call
            elif (answer := mocks.answer(call)) is not None and not answer.hold:
                # nobody is offered it: its answer comes from outside
                self._reply((call.execution_id, event.action, 0, 0), answer)

    def _note_child(self, call: Call, event: e.ActionScheduled, answer: Answer | None) -> None:
        if answer is None and call.name not in self._absent:
            return  # it starts like any other
        self.stand_ins.add(event.child, call.execution_id, event.action)
        if answer is None:
            self.unanswered.append(call)
        elif not answer.hold:
            self._at(answer.after, lambda: self.stand_ins.answer(event.child, self._said(event.action, answer)))

    def _claim_targeted(self, outcome: r.Outcome) -> None:
        """A mock answers whichever worker is meant."""
        wanted = sorted((name, target, 1_000) for _, name, target in outcome.queued if target)
        if wanted:
            self._pending.append(self._claim(wanted))

    def _claim(self, wanted: list[tuple[str, str, int]]) -> r.Claim:
        worker = self._worker
        return r.Claim(provenance=_ANYBODY, session=worker.id, worker=worker.worker, namespace="default", wanted=wanted)

    def _perform(self, row: QueueRow) -> None:
        answer = self._mocked(row) if self._mocks is not None else self._computed(row)
        if answer is None or answer.hold:
            self.held[row.execution_id, row.action_id] = row
            return
        self._reply((row.execution_id, row.action_id, row.attempt, row.epoch), answer)
        self.desk.settled("built-in", row.name)
        self.desk.grant("built-in", 1)

    def _said(self, action: int, answer: Answer) -> c.CompleteAction | c.FailAction:
        at = self.clock.now()
        if answer.failure is not None:
            return c.FailAction(at, action, answer.failure)
        return c.CompleteAction(at, action, answer.result)

    def _reply(self, lease: tuple[str, int, int, int], answer: Answer) -> None:
        # what it says is made when it is said: the moment goes with it
        self._at(answer.after, lambda: [_result(*lease, self._said(lease[1], answer))])

    def _at(self, seconds: float, requests: Callable[[], list[r.Request]]) -> None:
        due = to_microseconds(self.clock.now() + timedelta(seconds=seconds))
        self._performed += 1
        heapq.heappush(self._later, (due, self._performed, requests))

    def _mocked(self, row: QueueRow) -> Answer | None:
        assert self._mocks is not None
        call = self._calls.get((row.execution_id, row.action_id)) or self._earlier_call(row)
        answer = self._mocks.answer(call)
        if answer is None and (builtin := self._actions.get(row.name)) is not None and builtin.run is not None:
            return self._computed(row)
        if answer is None:
            self.unanswered.append(call)
        return answer

    def _earlier_call(self, row: QueueRow) -> Call:
        """Return the call of an action that an earlier world scheduled."""
        state = self.live(row.execution_id).state
        action = state.actions[row.action_id]
        name = state.tasks[action.task].name
        return Call(row.execution_id, name, action.index, row.name, tuple(action.wrappers), decode(row.input or b"{}"))

    def _computed(self, row: QueueRow) -> Answer:
        run = self._actions[row.name].run
        assert run is not None
        given = decode(row.input or b"{}")
        assert isinstance(given, dict)
        try:
            result = run(given)
            if inspect.isawaitable(result):
                result = asyncio.run(_completed(result))
            return Answer(result.result, after=result.seconds) if isinstance(result, After) else Answer(result)
        except ActionError as error:
            return Answer(failure=c.Failure("ACTION", error.message, error.code, error.details, error.retryable))


async def _completed(result: Awaitable[object]) -> object:
    return await result


def _actor(user: str) -> str:
    return f"caller:{user}" if user else "anonymous:"


def _result(execution_id: str, action: int, attempt: int, epoch: int, command: c.Answer) -> r.Result:
    return r.Result(
        provenance=Provenance("worker:test", type(command).__name__),
        target=execution_id,
        namespace="default",
        action_id=action,
        attempt=attempt,
        epoch=epoch,
        worker="test",
        command=command,
    )

"""A server, as scenarios play on it from outside: they ask over gRPC, workers hold Work streams, and the clock is real.

What happens is heard from WatchEvents; what that gives is compared with what the calls that read tell.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from tests.api.harness import PATIENCE, Hand, Served, read_refusal
from tradewind import values
from tradewind.v1 import (
    action_callback_pb2,
    definition_pb2,
    definition_service_pb2,
    event_pb2,
    execution_pb2,
    failure_pb2,
    human_task_pb2,
    notification_service_pb2,
    notification_service_pb2_grpc,
    payload_pb2,
    task_pb2,
)
from tradewind.v1 import execution_service_pb2 as pb
from tradewind.v1 import human_task_service_pb2 as people_pb
from tradewind_server import errors
from tradewind_server.api.access import MANAGE, RIGHTS
from tradewind_server.clock import SystemClock, from_microseconds, to_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.evolve import create, evolve
from tradewind_server.engine.scopes import task_result
from tradewind_server.engine.state import Execution, ExecutionState, Task, TaskState
from tradewind_server.store.notifications import Notification, key_of
from tradewind_server.store.records import StoredEvent
from tradewind_server.testing import people
from tradewind_server.testing.comparison import Different, differences

T = TypeVar("T")
#: One page holds all that a scenario makes.
_PAGE = 1000
_NOBODY = c.Person("")
Answer = c.CompleteAction | c.FailAction | c.CancelAction


class RemoteWorld:
    """One namespace of a server, with the face of a `World`. Time passes by itself here.

    Args:
        runner: runs the event loop of the server and of its clients, as long as something is asked here.
        served: the server, behind a proxy with *secret*, which is here.
        namespace: nobody else uses it.
    """

    stand_ins: frozenset[str] = frozenset()

    def __init__(self, runner: asyncio.Runner, served: Served, secret: bytes, namespace: str) -> None:
        self.clock = SystemClock()
        #: Execution and action -> who works on it, and what he was offered it with.
        self.held: dict[tuple[str, int], tuple[Hand, bytes]] = {}
        #: How many events were heard.
        self.moment = 0
        self._runner = runner
        self._served = served
        self._secret = secret
        self._namespace = namespace
        self._outbox: Any = notification_service_pb2_grpc.NotificationServiceStub(served.channel)
        self._logs: dict[str, list[StoredEvent]] = {}
        self._states: dict[str, Execution] = {}
        #: Up to which revision what is read was compared.
        self._checked: dict[str, int] = {}
        #: By the action that they serve.
        self._hands: dict[str, Hand] = {}
        watch = pb.WatchEventsRequest(namespace=namespace, from_beginning=True)
        self._watch = self._do(self._open(lambda: served.executions.WatchEvents(watch, metadata=self._as(_NOBODY))))

    async def _open(self, call: Callable[[], T]) -> T:
        return call()

    def close(self) -> None:
        """Hear no more, and let the workers vanish."""
        self._do(self._close())

    async def _close(self) -> None:
        self._watch.cancel()
        for hand in self._hands.values():
            await hand.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it while the server runs.

        Raises:
            Refusal: the server refused it; what it says is made of the facts that came over the wire.
        """
        try:
            return self._runner.run(work)
        except grpc.aio.AioRpcError as error:
            caught = read_refusal(error)
            raise _refusal(caught.reason, caught.metadata, caught.message) from None

    def _as(self, person: c.Person) -> list[tuple[str, str]]:
        """Return the metadata by which the proxy tells who calls."""
        rights = RIGHTS if person.may_manage else RIGHTS - {MANAGE}
        stated = [person.user, ",".join(sorted(person.groups)), "*", ",".join(sorted(rights)), str(int(time.time()))]
        given = [urllib.parse.quote(each, safe=",*") for each in stated]
        signature = hmac.new(self._secret, "\n".join(given).encode(), hashlib.sha256).hexdigest()
        names = ("user", "groups", "namespaces", "rights", "at", "signature")
        return [(f"x-tradewind-{name}", value) for name, value in zip(names, [*given, signature], strict=True)]

    async def _call(self, method: Any, request: Any, person: c.Person = _NOBODY) -> Any:
        request.namespace = self._namespace
        return await method(request, timeout=PATIENCE, metadata=self._as(person))

    async def _ask(self, method: Any, request: Any, person: c.Person = _NOBODY) -> Any:
        """Have something done, and wait until nothing moves any more; what was refused must not have moved anything."""
        try:
            return await self._call(method, request, person)
        finally:
            await self._settle()

    # --- hearing ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Hear what happens until everything waits for somebody outside or for a moment to come."""
        async with asyncio.timeout(PATIENCE):
            while not await self._is_at_rest():
                await self._hear()

    async def _is_at_rest(self) -> bool:
        before = await self._revisions()
        # looked at one after the other, several may have sent each other something meanwhile
        return before is not None and (len(before) < 2 or await self._revisions() == before)

    async def _revisions(self) -> list[int] | None:
        """Return how far the executions are; None if one goes on by itself, or there are events still to be heard."""
        found = await asyncio.gather(*map(self._explained, self._logs))
        return None if None in found else [len(log) for log in self._logs.values()]

    async def _explained(self, id_: str) -> bool | None:
        request = pb.ExplainExecutionRequest(execution_id=id_)
        answer = await self._call(self._served.executions.ExplainExecution, request)
        is_heard = answer.execution.revision == len(self._logs[id_])
        return True if is_heard and not any(self._moves(id_, wait) for wait in answer.waits) else None

    def _moves(self, id_: str, wait: pb.Wait) -> bool:
        """Tell whether what an execution waits for comes by itself, now."""
        if wait.kind == pb.WAIT_KIND_MESSAGE:
            return True
        if wait.kind == pb.WAIT_KIND_TIMER:
            return wait.until.ToMicroseconds() <= self.clock.microseconds()
        if wait.kind == pb.WAIT_KIND_CHILD:
            return wait.child_execution_id not in self._logs
        is_builtin = wait.action.startswith("std.")
        return is_builtin and not self._states[id_].actions[int(wait.action_id[1:])].asynchronous

    async def _hear(self) -> None:
        """Take the next message of the watch, which has no gaps."""
        message = await self._watch.read()
        for event in message.events:
            log = self._logs.setdefault(event.execution_id, [])
            assert event.revision == len(log) + 1, f"revision {event.revision} comes after {len(log)}"
            log.append(_stored(event))
            self._evolve(log[-1])
        self.moment += len(message.events)

    def _evolve(self, stored: StoredEvent) -> None:
        event, at = decode_event(stored.type, stored.type_version, stored.body), from_microseconds(stored.at)
        if isinstance(event, e.ExecutionStarted):
            self._states[stored.execution_id] = create(event, at)
        else:
            evolve(self._states[stored.execution_id], event, at)

    # --- asking ----------------------------------------------------------------------------------

    def deploy(self, *texts: str) -> None:
        """Deploy definitions."""
        files = [definition_pb2.DefinitionFile(name=f"{n}.yaml", content=t.encode()) for n, t in enumerate(texts)]
        request = definition_service_pb2.DeployDefinitionsRequest(files=files)
        self._do(self._ask(self._served.definitions.DeployDefinitions, request))

    def start(
        self,
        workflow: str,
        input_: Mapping[str, object] | None = None,
        *,
        env: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        by: str = "",
    ) -> str:
        """Start an execution, as the user *by* or anonymously, and return its id."""
        request = pb.StartExecutionRequest(
            workflow=workflow, input=_payload(input_ or {}), env=_payload(env or {}), params=_payload(params or {})
        )
        return self._do(self._start(request, by))

    async def _start(self, request: pb.StartExecutionRequest, by: str) -> str:
        answer = await self._call(self._served.executions.StartExecution, request, c.Person(by))
        self._logs[answer.execution.id] = []
        await self._settle()
        return str(answer.execution.id)

    def command(self, execution_id: str, command: c.Command, *, task_name: str = "", by: str = "") -> object:
        """Carry out a command on an execution."""
        if isinstance(command, c.HumanTaskCommand):
            method, request = _HUMAN[type(command)](self._served.people, command)
            request.human_task_id = f"{execution_id}/a{command.action}"
            return self._do(self._ask(method, request, command.person))
        method, request = _COMMANDS[type(command)](self._served.executions, command)
        request.execution_id = execution_id
        if task_name:
            request.task_name = task_name
        return self._do(self._ask(method, request))

    def add_absence(self, user: str, substitute: str, during: timedelta) -> None:
        """Let somebody stand in for a user from now on."""
        absence = human_task_pb2.Absence(user=user, substitute=substitute)
        # begun, also if this clock is a little ahead of the server's
        absence.starts_at.FromDatetime(self.clock.now() - timedelta(seconds=1))
        absence.ends_at.FromDatetime(self.clock.now() + during)
        request = people_pb.AddAbsenceRequest(absence=absence)
        self._do(self._ask(self._served.people.AddAbsence, request, c.Person(user)))

    def advance(self, by: timedelta) -> None:
        """Fail: nobody can do that here."""
        raise AssertionError("time passes by itself")

    # --- workers ---------------------------------------------------------------------------------

    def lease(self, *names: str) -> None:
        """Let workers take all queued actions of these *names*, and nothing that comes later."""
        for name in names:
            self._do(self._lease(name))

    async def _lease(self, name: str) -> None:
        queued = sum([await self._queued(id_, name) for id_ in self._logs])
        if name not in self._hands:
            self._hands[name] = Hand(self._served.callback.Work(metadata=self._as(_NOBODY)))
            await self._hands[name].open([name], [], self._namespace)
        hand = self._hands[name]
        await hand.grant(queued)
        offers = [await hand.offer() for _ in range(queued)]
        await hand.accept(*(offer.token for offer in offers))
        for offer in offers:
            self.held[offer.execution_id, int(offer.action_id[1:])] = (hand, offer.token)

    async def _queued(self, id_: str, name: str) -> int:
        request = pb.ListActionsRequest(execution_id=id_, page_size=_PAGE)
        request.filter = f'name = "{name}" AND state = QUEUED'
        return len((await self._call(self._served.executions.ListActions, request)).actions)

    def answer(self, execution_id: str, command: Answer) -> None:
        """End an action: as the worker that holds it or, if nobody does, from outside."""
        self._do(self._answer(execution_id, command))

    async def _answer(self, execution_id: str, command: Answer) -> None:
        if (held := self.held.get((execution_id, command.action))) is not None:
            hand, token = held
            await hand.answer(token, **_outcome(command))
            receipt = await hand.whole_receipt()
            await self._settle()
            if receipt.HasField("refusal"):
                raise _refusal(receipt.refusal.reason, receipt.refusal.metadata, receipt.refusal.message)
            return
        action = action_callback_pb2.ActionReference(execution_id=execution_id, action_id=f"a{command.action}")
        if isinstance(command, c.CompleteAction):
            done = action_callback_pb2.CompleteActionRequest(action=action, **_outcome(command))
            await self._ask(self._served.callback.CompleteAction, done)
        else:
            failed = action_callback_pb2.FailActionRequest(action=action, **_outcome(command))
            await self._ask(self._served.callback.FailAction, failed)

    def end_stand_in(self, child: str, command: Answer) -> None:
        """Fail: there are no mocks here."""
        raise AssertionError(f"nobody stands in for {child}")

    # --- looking ---------------------------------------------------------------------------------

    def exists(self, execution_id: str) -> bool:
        """Tell whether there is such an execution."""
        return bool(self._logs.get(execution_id))

    def state(self, execution_id: str) -> Execution:
        """Return what the events give that were heard."""
        return self._states[execution_id]

    def events(self, execution_id: str) -> list[StoredEvent]:
        """Return the events that were heard."""
        return list(self._logs[execution_id])

    def notifications(self, execution_id: str) -> list[tuple[Notification, e.NotificationRequested]]:
        """Return the notifications of an execution, and the events that asked for them."""
        request = notification_service_pb2.ListNotificationsRequest(page_size=_PAGE)
        found = self._do(self._call(self._outbox.ListNotifications, request)).notifications
        rows = [_notification(message) for message in found if message.execution_id == execution_id]
        return [(row, self._request_of(row)) for row in rows]

    def _request_of(self, row: Notification) -> e.NotificationRequested:
        stored = self._logs[row.execution_id][row.revision - 1]
        event = decode_event(stored.type, stored.type_version, stored.body)
        assert isinstance(event, e.NotificationRequested)
        return event

    # --- the law ---------------------------------------------------------------------------------

    def check(self, execution_id: str) -> None:
        """Compare what the calls that read tell of an execution with what its events give, if there are new ones.

        Raises:
            Different: they are not the same.
        """
        if self._checked.get(execution_id) != len(self._logs[execution_id]):
            self._do(self._check(execution_id))

    async def _check(self, id_: str) -> None:
        state, heard = self._states[id_], self._logs[id_][self._checked.get(id_, 0) :]
        execution, tasks, events, human_tasks = await asyncio.gather(
            self._execution(id_), self._tasks(id_), self._events(id_), self._human_tasks(id_, state)
        )
        found = [
            *differences("GetExecution", _execution(state), execution),
            *differences("ListTasks", [_task(state, task) for task in state.tasks.values()], tasks),
            *differences("ListEvents", heard, events),
            *differences("ListHumanTasks", _human_tasks(state), human_tasks),
        ]
        if found:
            raise Different(found)
        self._checked[id_] = len(self._logs[id_])

    async def _execution(self, id_: str) -> dict[str, object]:
        request = pb.GetExecutionRequest(execution_id=id_)
        return _read_execution((await self._call(self._served.executions.GetExecution, request)).execution)

    async def _tasks(self, id_: str) -> list[dict[str, object]]:
        request = pb.ListTasksRequest(execution_id=id_, page_size=_PAGE, view=execution_pb2.EXECUTION_VIEW_FULL)
        return [_read_task(task) for task in (await self._call(self._served.executions.ListTasks, request)).tasks]

    async def _events(self, id_: str) -> list[StoredEvent]:
        """Return the events that were not compared yet."""
        request = pb.ListEventsRequest(execution_id=id_, page_size=_PAGE, after_revision=self._checked.get(id_, 0))
        return [_stored(event) for event in (await self._call(self._served.executions.ListEvents, request)).events]

    async def _human_tasks(self, id_: str, state: Execution) -> dict[str, object]:
        if not state.human_tasks:
            return {}
        request = people_pb.ListHumanTasksRequest(page_size=_PAGE, view=people_pb.HUMAN_TASK_VIEW_FULL)
        found = (await self._call(self._served.people.ListHumanTasks, request)).human_tasks
        return {each.id: _read_human_task(each) for each in found if each.execution_id == id_}


def _payload(value: object) -> payload_pb2.Payload:
    return values.to_payload(value)


def _refusal(reason: str, metadata: Mapping[str, str], message: str) -> errors.Refusal:
    """Return the refusal that the server declares, made of what came over the wire."""
    [declared] = [each for each in errors.Refusal.__subclasses__() if each.reason == reason]
    refusal = declared.__new__(declared)
    errors.Refusal.__init__(refusal, **metadata)
    assert str(refusal) == message, "the metadata has all parts of the sentence"
    return refusal


# --- requests ------------------------------------------------------------------------------------------------------

_Call = tuple[Any, Any]


def _stop(calls: Any, command: c.StopExecution) -> _Call:
    assert command.outcome is ExecutionState.CANCELLED, "the API has no call for another end"
    return calls.CancelExecution, pb.CancelExecutionRequest(message=command.message)


def _rerun(calls: Any, command: c.RerunTask) -> _Call:
    return calls.RerunTask, pb.RerunTaskRequest(reset=command.reset, env=_some(command.env))


def _some(env: Mapping[str, object] | None) -> payload_pb2.Payload | None:
    return None if env is None else _payload(env)


def _attach(calls: Any, command: c.AddAttachment) -> _Call:
    given = command.attachment
    request = people_pb.AddAttachmentRequest(file_name=given.name, content_type=given.content_type)
    if command.content is not None:
        request.content = command.content
    else:
        request.external.uri = given.uri
        request.external.size_bytes, request.external.digest = given.size, given.digest
    return calls.AddAttachment, request


_COMMANDS: dict[type, Callable[[Any, Any], _Call]] = {
    c.PauseExecution: lambda calls, it: (calls.PauseExecution, pb.PauseExecutionRequest(message=it.message)),
    c.ResumeExecution: lambda calls, it: (calls.ResumeExecution, pb.ResumeExecutionRequest(env=_some(it.env))),
    c.StopExecution: _stop,
    c.RerunTask: _rerun,
    c.SkipTask: lambda calls, it: (calls.SkipTask, pb.SkipTaskRequest()),
}
_HUMAN: dict[type, Callable[[Any, Any], _Call]] = {
    c.ClaimHumanTask: lambda calls, it: (calls.ClaimHumanTask, people_pb.ClaimHumanTaskRequest()),
    c.ReleaseHumanTask: lambda calls, it: (calls.ReleaseHumanTask, people_pb.ReleaseHumanTaskRequest(note=it.note)),
    c.AssignHumanTask: lambda calls, it: (
        calls.AssignHumanTask,
        people_pb.AssignHumanTaskRequest(user=it.to, note=it.note),
    ),
    c.DelegateHumanTask: lambda calls, it: (
        calls.DelegateHumanTask,
        people_pb.DelegateHumanTaskRequest(user=it.to, note=it.note),
    ),
    c.SaveHumanTaskDraft: lambda calls, it: (
        calls.SaveHumanTaskDraft,
        people_pb.SaveHumanTaskDraftRequest(data=_payload(it.data)),
    ),
    c.CommentHumanTask: lambda calls, it: (calls.CommentHumanTask, people_pb.CommentHumanTaskRequest(text=it.text)),
    c.AddAttachment: _attach,
    c.WithdrawAttachment: lambda calls, it: (
        calls.WithdrawAttachment,
        people_pb.WithdrawAttachmentRequest(attachment_id=f"f{it.attachment}", note=it.note),
    ),
    c.SubmitHumanTask: lambda calls, it: (
        calls.SubmitHumanTask,
        people_pb.SubmitHumanTaskRequest(outcome=it.outcome, etag=it.etag, reason=it.reason, data=_payload(it.data)),
    ),
}


def _outcome(command: Answer) -> dict[str, Any]:
    """Return what a worker says, as the fields of its message."""
    if isinstance(command, c.CompleteAction):
        return {"result": _payload(command.result)}
    if isinstance(command, c.CancelAction):
        return {"failure": failure_pb2.Failure(code="CANCELLED", message=command.message)}
    failure = command.failure
    details = None if failure.details is None else _payload(failure.details)
    told = failure_pb2.Failure(code=failure.code, message=failure.message, details=details)
    told.retryable = failure.retryable
    return {"failure": told}


# --- answers -------------------------------------------------------------------------------------------------------


def _stored(event: event_pb2.Event) -> StoredEvent:
    """Return an event as the log of a world has it, as far as a scenario and the engine speak of it."""
    return StoredEvent(
        event.execution_id, event.revision, event.namespace, event.root_id, event.workflow, event.business_key,
        event.type, event.type_version, event.at.ToMicroseconds(), f"{event.actor.kind}:{event.actor.name}",
        event.cause.command, event.cause.request_id, _number(event.task_id), event.task, _number(event.action_id),
        0, 0, 0, event.traceparent, 0, event.body.data,
    )  # fmt: skip


def _number(id_: str) -> int:
    return int(id_[1:] or 0)


def _notification(message: Any) -> Notification:
    key = key_of(message.id)
    assert key is not None
    at = message.created_at.ToMicroseconds()
    return Notification(*key, message.namespace, message.kind, message.recipient, "", at, at)


def _execution(state: Execution) -> dict[str, object]:
    return {
        "id": state.id,
        "revision": state.revision,
        "state": str(state.state),
        "message": state.message or "",
        "output": state.output,
        "env": state.env,
        "updated_at": to_microseconds(state.updated_at),
    }


def _read_execution(message: execution_pb2.Execution) -> dict[str, object]:
    return {
        "id": message.id,
        "revision": message.revision,
        "state": execution_pb2.ExecutionState.Name(message.state).removeprefix("EXECUTION_STATE_"),
        "message": message.state_message,
        "output": values.from_payload(message.output),
        "env": values.from_payload(message.env),
        "updated_at": message.updated_at.ToMicroseconds(),
    }


def _task(state: Execution, task: Task) -> dict[str, object]:
    return {
        "id": f"t{task.id}",
        "name": task.name,
        "state": str(task.state),
        "message": task.message or "",
        "attempt": task.attempt,
        "result": task_result(state, task) if task.state is TaskState.SUCCEEDED else None,
    }


def _read_task(message: task_pb2.Task) -> dict[str, object]:
    return {
        "id": message.id,
        "name": message.name,
        "state": task_pb2.TaskState.Name(message.state).removeprefix("TASK_STATE_"),
        "message": message.state_message,
        "attempt": message.attempt,
        "result": values.from_payload(message.result),
    }


def _human_tasks(state: Execution) -> dict[str, object]:
    """Return what is told of the human tasks; who has one tell `assignee` and `owner`, where there is no quorum."""
    found = {f"{state.id}/a{each.id}": people.told(each, people.TOLD) for each in state.human_tasks.values()}
    for told in found.values():
        told["claims"] = told["claims"] if told["quorum"] else {}
    return dict(found)


def _read_human_task(message: human_task_pb2.HumanTask) -> dict[str, object]:
    state = human_task_pb2.HumanTaskState.Name(message.state).removeprefix("HUMAN_TASK_STATE_")
    return {
        "state": state,
        "users": list(message.users),
        "groups": list(message.groups),
        "excluded": {each.user: each.reason for each in message.excluded},
        "priority": message.priority,
        "assignee": message.assignee,
        "owner": message.owner,
        "done_by": message.done_by,
        "outcome": message.outcome,
        "comments": message.comment_count,
        "level": message.escalation_level,
        "quorum": message.quorum,
        "asked": list(message.asked),
        "votes": {vote.by: vote.outcome for vote in message.votes},
        "attachments": {each.id: each.file_name for each in message.attachments},
        "claims": {claim.user: claim.owner for claim in message.claims},
    }

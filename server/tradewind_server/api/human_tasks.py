"""HumanTaskService."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind.v1 import human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind.v1 import human_task_service_pb2_grpc as service
from tradewind_server.api import attachments, convert, deciders, human_task_views
from tradewind_server.api.caller import client, namespace_of, person, provenance
from tradewind_server.api.errors import refusal_message
from tradewind_server.api.human_task_watching import HumanTaskWatching
from tradewind_server.api.pages import Pages, fill
from tradewind_server.api.sight import Sight
from tradewind_server.engine import commands as c
from tradewind_server.errors import ExecutionNotFound, FieldInvalid, Refusal
from tradewind_server.errors.people import HumanTaskNotFound, PersonNotManager
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import absences, human_tasks, inboxes, reads
from tradewind_server.store.absences import Absence
from tradewind_server.store.filters import HUMAN_TASK_FIELDS, parse_filter
from tradewind_server.store.statements import Dialect

_MOST_TEXT = 4_000
_MOST_COUNTED = 10_000
_MOST_SUBMITTED = 1_000
_ID = re.compile(r"([0-9A-Za-z-]{1,64})/a([1-9][0-9]{0,17})")

#: Makes an answer of a connection, its dialect, the row of a human task, and the time in microseconds.
View = Callable[[sa.Connection, Dialect, Any, int], Any]


class HumanTasks(service.HumanTaskServiceServicer):
    """Shows people what they are asked to do, and takes their decisions."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages
        self._limit = runtime.settings.max_payload_bytes
        self._sight = Sight(runtime)
        self._watching = HumanTaskWatching(runtime)

    # --- reading ---------------------------------------------------------------------------------

    async def ListHumanTasks(self, request: pb.ListHumanTasksRequest, context: Any) -> Any:
        """Return one page of a list."""
        namespace = namespace_of(request.namespace)
        terms = parse_filter(request.filter, HUMAN_TASK_FIELDS)
        size = convert.page_size_of(request.page_size)
        full = request.view == pb.HUMAN_TASK_VIEW_FULL
        who = human_task_views.asking(request.scope)
        query = ("human tasks", namespace, request.filter, request.scope, who.user if who else "")
        now = self._runtime.clock.microseconds()
        position: tuple[Any, ...] = tuple(self._pages.position(query, request.page_token))

        def work(connection: Any, dialect: Any) -> pb.ListHumanTasksResponse:
            if who is None:
                rows = human_tasks.page(connection, namespace, terms, size + 1, position or None)
            else:
                inbox = human_task_views.inbox_of(connection, namespace, who, request.scope, now)
                rows = inboxes.page(connection, namespace, inbox, terms, size + 1, position or None)
            found = fill(
                rows, lambda some: human_task_views.messages(self._sight, connection, dialect, some, full=full), size
            )
            token = self._pages.next(query, rows, len(found), _key if who is None else inboxes.place_of)
            return pb.ListHumanTasksResponse(human_tasks=found, next_page_token=token)

        return await self._runtime.read(work)

    async def CountHumanTasks(self, request: pb.CountHumanTasksRequest, context: Any) -> Any:
        """Count, up to a bound."""
        namespace = namespace_of(request.namespace)
        terms = parse_filter(request.filter, HUMAN_TASK_FIELDS)
        who = human_task_views.asking(request.scope)
        now = self._runtime.clock.microseconds()

        def work(connection: Any, _: Any) -> int:
            if who is None:
                return human_tasks.count(connection, namespace, terms, _MOST_COUNTED + 1)
            inbox = human_task_views.inbox_of(connection, namespace, who, request.scope, now)
            return inboxes.count(connection, namespace, inbox, terms, _MOST_COUNTED + 1)

        found = await self._runtime.read(work)
        return pb.CountHumanTasksResponse(count=min(found, _MOST_COUNTED), more=found > _MOST_COUNTED)

    async def GetHumanTask(self, request: pb.GetHumanTaskRequest, context: Any) -> Any:
        """Return one with all that it shows, once it is written down who has seen that."""
        namespace, (execution_id, action_id) = namespace_of(request.namespace), _parts(request.human_task_id)
        found, is_news = await self._look(namespace, execution_id, action_id)
        if is_news:
            seen = c.SeeHumanTask(self._runtime.clock.now(), action_id, person(), found.etag)
            await self._runtime.ask(
                r.Command(
                    provenance=provenance(context, "SeeHumanTask", ""),
                    target=execution_id,
                    namespace=namespace,
                    command=seen,
                    size_bytes=500,
                )
            )
        return pb.GetHumanTaskResponse(human_task=found)

    async def _look(self, namespace: str, execution_id: str, action_id: int) -> tuple[human_task_pb2.HumanTask, bool]:
        """Return one, and whether the caller is a decider of whom it is not known that he has seen this."""

        def view(connection: sa.Connection, dialect: Dialect, row: Any, now: int) -> Any:
            message = human_task_views.message(self._sight, connection, dialect, row, now, full=True)
            return message, deciders.is_news(connection, dialect, row, now)

        found: tuple[human_task_pb2.HumanTask, bool] = await self._view(namespace, execution_id, action_id, view)
        return found

    async def _view(self, namespace: str, execution_id: str, action_id: int, view: View) -> Any:
        """Return what *view* makes of the row of a human task, as of now.

        Raises:
            HumanTaskNotFound: there is none.
        """
        now = self._runtime.clock.microseconds()

        def work(connection: sa.Connection, dialect: Dialect) -> Any:
            row = human_tasks.get(connection, namespace, execution_id, action_id)
            if row is None:
                raise HumanTaskNotFound(human_task=f"{execution_id}/a{action_id}", field="human_task_id")
            return view(connection, dialect, row, now)

        return await self._runtime.read(work)

    async def ListHumanTaskEntries(self, request: pb.ListHumanTaskEntriesRequest, context: Any) -> Any:
        """Return one page of an audit trail."""
        namespace = namespace_of(request.namespace)
        execution_id, action_id = _parts(request.human_task_id)
        size = convert.page_size_of(request.page_size)
        query = ("entries", namespace, request.human_task_id)
        position = self._pages.position(query, request.page_token)
        after = int(str(position[0])) if position else 0

        def work(connection: Any, _: Any) -> pb.ListHumanTaskEntriesResponse:
            if human_tasks.get(connection, namespace, execution_id, action_id) is None:
                raise HumanTaskNotFound(human_task=request.human_task_id, field="human_task_id")
            events = reads.events_of_human_task(connection, execution_id, action_id, after, size + 1)
            found = fill(
                events, lambda some: [human_task_views.entry(e) for e in self._sight.events(connection, some)], size
            )
            token = self._pages.next(query, events, len(found), lambda event: (event.revision,))
            return pb.ListHumanTaskEntriesResponse(entries=found, next_page_token=token)

        return await self._runtime.read(work)

    async def WatchHumanTasks(self, request: pb.WatchHumanTasksRequest, context: Any) -> Any:
        """Send a list and its changes."""
        with self._runtime.streams.one_of(client()):
            async for message in self._watching.watch(request):
                yield message

    # --- absences --------------------------------------------------------------------------------

    async def AddAbsence(self, request: pb.AddAbsenceRequest, context: Any) -> Any:
        """Let somebody stand in for a user."""
        given, who = request.absence, person()
        user = convert.name_of("absence.user", given.user) or who.user
        if user != who.user and not who.may_manage:
            raise PersonNotManager(user=who.user)
        wanted = self._absence(namespace_of(request.namespace), user, who.user, given)
        await self._runtime.ask(r.AddAbsence(provenance=provenance(context, "AddAbsence", ""), absence=wanted))
        self._runtime.notifications_changed.set()
        return pb.AddAbsenceResponse(absence=human_task_views.absence(wanted))

    def _absence(self, namespace: str, user: str, by: str, given: human_task_pb2.Absence) -> Absence:
        substitute = convert.name_of("absence.substitute", convert.required("absence.substitute", given.substitute))
        starts_at, ends_at = (
            convert.microseconds_of(f"absence.{name}", getattr(given, name)) for name in ("starts_at", "ends_at")
        )
        now = self._runtime.clock.microseconds()
        if substitute == user:
            expected, problem = "somebody else than who is absent", f"it is '{user}', too"
            raise FieldInvalid(name="absence.substitute", expected=expected, problem=problem)
        if ends_at <= max(starts_at, now):
            expected, problem = "a moment after its begin and after now", "it is not"
            raise FieldInvalid(name="absence.ends_at", expected=expected, problem=problem)
        note = _text("absence.note", given.note)
        what = f"{namespace}\n{user}\n{substitute}\n{starts_at}\n{ends_at}\n{note}"
        id_ = hashlib.sha256(what.encode()).hexdigest()[:24]
        return Absence(id_, namespace, user, substitute, starts_at, ends_at, note, by)

    async def ListAbsences(self, request: pb.ListAbsencesRequest, context: Any) -> Any:
        """Return one page of absences that have not ended."""
        namespace = namespace_of(request.namespace)
        size = convert.page_size_of(request.page_size)
        query = ("absences", namespace, request.user)
        position: tuple[Any, ...] = tuple(self._pages.position(query, request.page_token))
        now = self._runtime.clock.microseconds()

        def work(connection: Any, _: Any) -> pb.ListAbsencesResponse:
            rows = absences.page(connection, namespace, request.user, now, size + 1, position or None)
            found = fill(rows, lambda some: [human_task_views.absence(row) for row in some], size)
            token = self._pages.next(query, rows, len(found), lambda row: (row.starts_at, row.id))
            return pb.ListAbsencesResponse(absences=found, next_page_token=token)

        return await self._runtime.read(work)

    async def RemoveAbsence(self, request: pb.RemoveAbsenceRequest, context: Any) -> Any:
        """End an absence."""
        await self._runtime.ask(
            r.RemoveAbsence(
                provenance=provenance(context, "RemoveAbsence", ""),
                namespace=namespace_of(request.namespace),
                id=convert.required("absence_id", request.absence_id),
                person=person(),
                at=self._runtime.clock.now(),
            )
        )
        return pb.RemoveAbsenceResponse()

    # --- what people do --------------------------------------------------------------------------

    async def ClaimHumanTask(self, request: pb.ClaimHumanTaskRequest, context: Any) -> Any:
        """Take one."""
        done = await self._do(request, context, lambda at, id_: c.ClaimHumanTask(at, id_, person()))
        return pb.ClaimHumanTaskResponse(human_task=done)

    async def ReleaseHumanTask(self, request: pb.ReleaseHumanTaskRequest, context: Any) -> Any:
        """Give one back."""
        note = _text("note", request.note)
        done = await self._do(request, context, lambda at, id_: c.ReleaseHumanTask(at, id_, person(), note))
        return pb.ReleaseHumanTaskResponse(human_task=done)

    async def AssignHumanTask(self, request: pb.AssignHumanTaskRequest, context: Any) -> Any:
        """Give one to a user."""
        user, note = convert.required("user", request.user), _text("note", request.note)
        done = await self._do(request, context, lambda at, id_: c.AssignHumanTask(at, id_, person(), user, note))
        return pb.AssignHumanTaskResponse(human_task=done)

    async def DelegateHumanTask(self, request: pb.DelegateHumanTaskRequest, context: Any) -> Any:
        """Let another user do one."""
        user, note = convert.required("user", request.user), _text("note", request.note)
        done = await self._do(request, context, lambda at, id_: c.DelegateHumanTask(at, id_, person(), user, note))
        return pb.DelegateHumanTaskResponse(human_task=done)

    async def SaveHumanTaskDraft(self, request: pb.SaveHumanTaskDraftRequest, context: Any) -> Any:
        """Keep what has been filled in."""
        data = convert.dictionary_of(request.data, "data", self._limit)
        done = await self._do(request, context, lambda at, id_: c.SaveHumanTaskDraft(at, id_, person(), data))
        return pb.SaveHumanTaskDraftResponse(human_task=done)

    async def CommentHumanTask(self, request: pb.CommentHumanTaskRequest, context: Any) -> Any:
        """Say something about one."""
        text = _text("text", request.text)
        if not text.strip():
            raise FieldInvalid(name="text", expected="a text", problem="it is empty")
        done = await self._do(request, context, lambda at, id_: c.CommentHumanTask(at, id_, person(), text))
        return pb.CommentHumanTaskResponse(human_task=done)

    # --- files -----------------------------------------------------------------------------------

    async def AddAttachment(self, request: pb.AddAttachmentRequest, context: Any) -> Any:
        """Add a file to one."""
        given, content = attachments.given(request)
        done = await self._do(request, context, lambda at, id_: c.AddAttachment(at, id_, person(), given, content))
        return await self._view(
            namespace_of(request.namespace),
            *_parts(request.human_task_id),
            lambda _c, _d, row, _now: human_task_views.with_added(done, given, row),
        )

    async def GetAttachment(self, request: pb.GetAttachmentRequest, context: Any) -> Any:
        """Return a file with what is in it."""
        number = attachments.number_of(request.attachment_id)
        return await self._view(
            namespace_of(request.namespace),
            *_parts(request.human_task_id),
            lambda c_, d, row, now: human_task_views.with_content(self._sight, c_, d, row, now, number),
        )

    async def WithdrawAttachment(self, request: pb.WithdrawAttachmentRequest, context: Any) -> Any:
        """Take a file back."""
        number, note = attachments.number_of(request.attachment_id), _text("note", request.note)
        done = await self._do(request, context, lambda at, id_: c.WithdrawAttachment(at, id_, person(), number, note))
        return pb.WithdrawAttachmentResponse(human_task=done)

    # --- deciding --------------------------------------------------------------------------------

    async def SubmitHumanTask(self, request: pb.SubmitHumanTaskRequest, context: Any) -> Any:
        """Decide one."""
        return pb.SubmitHumanTaskResponse(human_task=await self._submit(request, context, full=True))

    async def SubmitHumanTasks(self, request: pb.SubmitHumanTasksRequest, context: Any) -> Any:
        """Decide many, each for itself."""
        if not 1 <= len(request.requests) <= _MOST_SUBMITTED:
            expected, problem = f"1 to {_MOST_SUBMITTED} items", f"there are {len(request.requests)}"
            raise FieldInvalid(name="requests", expected=expected, problem=problem)

        async def one(item: pb.SubmitHumanTaskRequest) -> pb.SubmitResult:
            item.namespace = item.namespace or request.namespace
            try:
                return pb.SubmitResult(human_task=await self._submit(item, context, full=False))
            except Refusal as refusal:
                # the other items are decided
                return pb.SubmitResult(refusal=refusal_message(refusal))

        return pb.SubmitHumanTasksResponse(results=await asyncio.gather(*map(one, request.requests)))

    async def _submit(
        self, request: pb.SubmitHumanTaskRequest, context: Any, *, full: bool
    ) -> human_task_pb2.HumanTask:
        outcome, etag = convert.required("outcome", request.outcome), convert.required("etag", request.etag)
        reason = _text("reason", request.reason)
        data = convert.dictionary_of(request.data, "data", self._limit) if request.HasField("data") else None
        return await self._do(
            request,
            context,
            lambda at, id_: c.SubmitHumanTask(at, id_, person(), outcome, etag, reason, data),
            full=full,
        )

    async def _do(self, request: Any, context: Any, make: Any, *, full: bool = True) -> human_task_pb2.HumanTask:
        """Carry out a command, and return the human task as it is after it."""
        namespace = namespace_of(request.namespace)
        execution_id, action_id = _parts(request.human_task_id)
        command = make(self._runtime.clock.now(), action_id)
        try:
            await self._runtime.ask(
                r.Command(
                    provenance=provenance(context, type(command).__name__, request.request_id),
                    target=execution_id,
                    namespace=namespace,
                    command=command,
                    digest=convert.digest_of(request),
                    size_bytes=500 + request.ByteSize(),
                )
            )
        except ExecutionNotFound:
            raise HumanTaskNotFound(human_task=request.human_task_id, field="human_task_id") from None
        found: human_task_pb2.HumanTask = await self._view(
            namespace,
            execution_id,
            action_id,
            lambda c_, d, row, now: human_task_views.message(self._sight, c_, d, row, now, full=full),
        )
        return found


def _parts(id_: str) -> tuple[str, int]:
    """Return execution and action of a human task's id.

    Raises:
        FieldInvalid: it is none.
    """
    match = _ID.fullmatch(convert.required("human_task_id", id_))
    if match is None:
        expected = "an id like '<execution id>/a1'"
        raise FieldInvalid(name="human_task_id", expected=expected, problem=f"it is '{id_:.80}'")
    return match.group(1), int(match.group(2))


def _key(row: Any) -> Sequence[object]:
    return (row.execution_id, row.action_id)


def _text(name: str, given: str) -> str:
    if len(given) > _MOST_TEXT or "\0" in given:
        expected, problem = f"at most {_MOST_TEXT} characters, none of them NUL", f"it has {len(given)}"
        raise FieldInvalid(name=name, expected=expected, problem=problem)
    # what is said here becomes part of a result, and must not pass for a reference to a secret there
    return convert.text_of(given, _MOST_TEXT)

"""What the store keeps about an execution beside the engine's state."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from tradewind_server.clock import from_microseconds
from tradewind_server.engine.library import Library
from tradewind_server.engine.state import Execution
from tradewind_server.lang.specs import WorkflowSpec


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What never changes about an execution."""

    id: str
    namespace: str
    workflow: str
    workflow_namespace: str
    definition_version: int
    #: Names are resolved as of this revision of the namespace's registry, for the whole tree.
    registry_revision: int
    semantics_version: int
    root_id: str
    #: "" and 0 for a root execution.
    parent_id: str
    parent_task: int
    parent_action: int
    #: The caller's own id, or "".
    external_id: str
    business_key: str
    tags: tuple[str, ...]
    description: str
    #: Actor, as "kind:name".
    created_by: str
    created_at: datetime


def envelope_of(row: Any) -> Envelope:
    """Return the envelope in a row of `executions`."""
    return Envelope(
        row.id, row.namespace, row.workflow, row.workflow_namespace, row.definition_version, row.registry_revision,
        row.semantics_version, row.root_id, row.parent_id, row.parent_task, row.parent_action, row.external_id,
        row.business_key, tuple(row.tags.split("\n")) if row.tags else (), row.description, row.created_by,
        from_microseconds(row.created_at),
    )  # fmt: skip


class Program(msgspec.Struct, frozen=True, gc=False):
    """What an execution runs: its workflow, and what the names in it mean."""

    spec: WorkflowSpec
    library: Library


class Answered(NamedTuple):
    """Who ended an action by an answer."""

    worker: str
    worker_build: str
    attempt: int
    #: When that was handed out, microseconds; None if it never was.
    started_at: int | None


class Lease(NamedTuple):
    """Who may answer for an action, as its row in the queue says it."""

    holder: Answered
    epoch: int


class Live(msgspec.Struct, gc=False):
    """An execution in memory: its state, and the transaction that wrote it last."""

    envelope: Envelope
    state: Execution
    xid: int = 0
    #: Bytes of the events whose values it holds.
    values_bytes: int = 0
    #: What it runs, once that was looked up.
    program: Program | None = None
    #: W3C trace context of its start, or "".
    trace: str = ""
    #: By task: who had done others, as entries of inboxes were written last; none where that is not known.
    did_others: dict[int, frozenset[str]] = {}
    #: By action, where nobody else writes: what is leased, and has not been touched since.
    leases: dict[int, Lease] = {}


class Provenance(msgspec.Struct, frozen=True, gc=False):
    """Who caused the events of one command, and how."""

    #: Actor, as "kind:name": caller, worker, timer, parent, child, system, anonymous.
    actor: str
    #: Name of the command.
    cause: str
    request_id: str = ""
    trace: str = ""


class QueueRow(msgspec.Struct, gc=False):
    """Delivery state of one action."""

    execution_id: str
    action_id: int
    namespace: str
    name: str
    #: Which worker is meant, or "" for any.
    target: str
    rank: int
    ready_at: int
    stage: int
    attempt: int
    epoch: int
    worker: str
    worker_build: str
    offered_at: int
    session: str
    lease_until: int
    deliveries: int
    losses: int
    safe_rerun: bool
    timeout_at: int
    cancelling: bool
    input_revision: int
    progress: str
    checkpoint: bytes | None
    detail: bytes
    #: The input, when it is at hand; not a column.
    input: bytes | None = None

    @property
    def lease(self) -> Lease:
        """Return who may answer for the action."""
        return Lease(Answered(self.worker, self.worker_build, self.attempt, self.offered_at or None), self.epoch)


class LogLine(NamedTuple):
    """What a worker writes about its action."""

    #: Counts from 1 for each offer.
    number: int
    at: int
    level: int
    message: str


#: Stages of a queue row.
QUEUED, OFFERED, ACCEPTED = 0, 1, 2


class Message(msgspec.Struct, frozen=True, gc=False):
    """Something one execution tells another."""

    target: str
    source: str
    source_revision: int
    kind: str
    namespace: str
    created_at: int
    body: bytes


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A request id, external id or business key, and what it stands for."""

    namespace: str
    #: "request", "external", "business", "registry"
    kind: str
    key: str
    #: For a change of the registry, which no execution stands for: its ticket, then "changed" or "unchanged".
    execution_id: str
    digest: str
    revision: int
    expires_at: int


#: How a body is to be read: as it is, or as one that may hold values of sensitive names.
PLAIN, MARKED = 1, 2


class StoredEvent(NamedTuple):
    """One row of the log, in the order of the table's columns. A tuple, since thousands are made each second."""

    execution_id: str
    revision: int
    namespace: str
    #: "" where the execution is the root itself.
    root_id: str
    workflow: str
    business_key: str
    type: str
    type_version: int
    at: int
    actor: str
    cause: str
    request_id: str
    task_id: int
    task: str
    action_id: int
    xid: int
    position: int
    #: Number of events of the command, in its first; else 0.
    span: int
    trace: str
    #: `PLAIN` or `MARKED`.
    codec: int
    body: bytes

"""What a definition text means, once it has been read: immutable specs.

The engine works on these and never sees YAML. Everything that may hold an expression is a `Template`,
compiled once when the text is read.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Literal, TypeAlias

from tradewind_server.lang.expressions import Template


class EngineCommand(enum.Enum):
    """The reserved targets of a transition."""

    NOOP = "noop"
    FAIL = "fail"
    SUCCEED = "succeed"
    PAUSE = "pause"


#: Their words; as targets they win over tasks of the same name (R2).
COMMAND_WORDS = frozenset(command.value for command in EngineCommand)


@dataclasses.dataclass(frozen=True, slots=True)
class InputSpec:
    """One declared input of a workflow or an ad-hoc action."""

    name: str
    #: False means that `default` is used when the caller gives nothing.
    required: bool
    #: Literal; expressions in it are text (R25).
    default: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Publish:
    """What a clause publishes, by scope. None: nothing."""

    branch: Template | None = None
    global_: Template | None = None
    atomic: Template | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """One entry of an on-clause."""

    #: A task name, or the command's word when `command` is set.
    target: str
    command: EngineCommand | None = None
    #: None: unconditional.
    guard: Template | None = None
    #: Message of fail, succeed, pause.
    message: Template | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class OnClause:
    """What follows a task: publishing, then transitions in textual order."""

    next: tuple[Transition, ...] = ()
    publish: Publish | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """Repeat a failed task: `count` more attempts, `delay` seconds apart."""

    count: Template
    delay: Template
    break_on: Template | None = None
    continue_on: Template | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One way in which a person can decide."""

    name: str
    #: A decision without a reason is refused.
    needs_reason: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Separation:
    """Who may never do a human task, whoever offers it to them: four eyes."""

    #: Not who started the root execution.
    initiator: bool = False
    #: Not who did these human tasks of the same execution.
    tasks: tuple[str, ...] = ()
    #: Each gives a user, or a list of users.
    users: tuple[Template, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Resolver:
    """An action that gives a name or a list of names."""

    action: Template
    input: Template | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Escalation:
    """Who is asked as well when nobody has decided for some time."""

    #: Since people were first asked: seconds, or a text such as 2d or "2 business days".
    after: Template
    users: Template | None = None
    groups: Template | None = None
    #: Over which they are told, in this order; none named: those of each.
    channels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Notify:
    """Who is told when people are asked."""

    is_wanted: bool = True
    #: Instead of those who are asked.
    users: Template | None = None
    groups: Template | None = None
    channels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Reminder:
    """When whoever has a human task, or is asked, is told once more. Either `after` or `before_due` is there."""

    #: Since people were first asked.
    after: Template | None = None
    before_due: Template | None = None
    #: Again so often: `count` times in all.
    every: Template | None = None
    count: Template | None = None
    channels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Expiry:
    """When a human task ends by itself."""

    #: Since people were first asked; None: when it is due.
    after: Template | None = None
    #: As if it had been decided so; "": it fails.
    outcome: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Quorum:
    """Several people decide together."""

    #: So many votes for one outcome decide; None: of all who are asked by name.
    votes: Template | None = None
    #: Outcomes that decide with one vote.
    veto: tuple[str, ...] = ()
    #: They vote one after the other, in the order in which they are named.
    is_sequential: bool = False
    #: What is decided when no outcome can get so many votes any more; "": it fails then.
    otherwise: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Attachments:
    """Which files belong to a human task."""

    #: Without so many nobody decides.
    minimum: int = 0
    #: None: as many as the server takes.
    maximum: int | None = None
    #: Media types, such as application/pdf or image/*; none named: any.
    content_types: tuple[str, ...] = ()
    #: Human tasks of the same workflow, perhaps this one: what they have is there from the start.
    sources: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class HumanSpec:
    """What a person is asked to do."""

    title: Template
    description: Template | None = None
    #: What to decide on: gives a dictionary.
    show: Template | None = None
    #: JSON Schema of what is filled in; None: nothing is, or what the form `form_name` asks for.
    form: Mapping[str, object] | None = None
    #: Name of a deployed form, with @ and a version if that is pinned; "" for none.
    form_name: str = ""
    #: Each gives a name or a list of names. At least one is there.
    users: Template | None = None
    groups: Template | None = None
    #: Or an action gives them.
    users_by: Resolver | None = None
    groups_by: Resolver | None = None
    #: Who is asked when nobody of these may.
    fallback_users: Template | None = None
    fallback_groups: Template | None = None
    separate_from: Separation = Separation()
    outcomes: tuple[Outcome, ...] = (Outcome("done"),)
    #: None: one person decides.
    quorum: Quorum | None = None
    #: None: any files, or none.
    attachments: Attachments | None = None
    #: 0 to 100; the higher, the sooner.
    priority: Template | None = None
    #: Gives the name of the calendar by which business time counts; None: the server's own.
    calendar: Template | None = None
    #: How long they have: seconds, or a text such as 2d.
    due: Template | None = None
    #: None: as the server is set up.
    notify: Notify | None = None
    remind: tuple[Reminder, ...] = ()
    #: In the order of `after`.
    escalate: tuple[Escalation, ...] = ()
    expire: Expiry | None = None

    @property
    def resolvers(self) -> list[tuple[str, Resolver]]:
        """Return what says who is asked, in the order in which it runs, each with the field that it gives."""
        found = (("users", self.users_by), ("groups", self.groups_by))
        return [(field, resolver) for field, resolver in found if resolver is not None]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task. Task-defaults are already applied; own values win (R30)."""

    name: str
    #: 1-based line of the task's key in its file.
    line: int
    description: str = ""
    tags: tuple[str, ...] = ()
    #: What runs: an action, a sub-workflow or a person. The name may be an expression. None given: std.noop.
    kind: Literal["action", "workflow", "human"] = "action"
    callee: Template = dataclasses.field(default_factory=lambda: Template.constant("std.noop"))
    #: Inline parameters (`std.echo output="x"`); they win over `input` (R1).
    parameters: Mapping[str, Template] = dataclasses.field(default_factory=dict)
    #: A dictionary, or one expression that gives a dictionary. None: no input.
    input: Template | None = None
    #: (variable, collection) pairs, iterated in lock-step. Empty: a plain task.
    with_items: tuple[tuple[str, Template], ...] = ()
    concurrency: Template | None = None
    publish: Template | None = None
    publish_on_error: Template | None = None
    publish_on_skip: Template | None = None
    #: None: the clause is absent both here and in task-defaults.
    on_success: OnClause | None = None
    on_error: OnClause | None = None
    on_complete: OnClause | None = None
    on_skip: OnClause | None = None
    #: None: no join; "all"; or how many branches must arrive (`one` is 1).
    join: Literal["all"] | int | None = None
    requires: tuple[str, ...] = ()
    retry: Retry | None = None
    wait_before: Template | None = None
    wait_after: Template | None = None
    timeout: Template | None = None
    fail_on: Template | None = None
    pause_before: Template | None = None
    keep_result: Template | None = None
    target: Template | None = None
    #: None: not said. An explicit false means that a lost worker fails the action (LEASE_LOST).
    safe_rerun: Template | None = None
    #: None: that of the execution.
    priority: Template | None = None
    #: Of a human task only.
    human: HumanSpec | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """One workflow, ready to run."""

    name: str
    line: int
    type: Literal["direct", "reverse"] = "direct"
    description: str = ""
    tags: tuple[str, ...] = ()
    #: Names whose values only those may see who have a right to, sorted: its own and those of its forms.
    sensitive: tuple[str, ...] = ()
    #: Name of the workbook it stands in, or "". Members are called `<workbook>.<member>`.
    workbook: str = ""
    input: tuple[InputSpec, ...] = ()
    vars: Template | None = None
    output: Template | None = None
    output_on_error: Template | None = None
    #: In textual order.
    tasks: Mapping[str, TaskSpec] = dataclasses.field(default_factory=dict)
    #: Direct: tasks without inbound transitions, in textual order.
    start_tasks: tuple[str, ...] = ()
    #: Direct: for each task the tasks with a transition to it, in textual order, each once.
    inbound: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class AdhocActionSpec:
    """An action written in YAML over another action."""

    name: str
    line: int
    base: str
    description: str = ""
    tags: tuple[str, ...] = ()
    workbook: str = ""
    input: tuple[InputSpec, ...] = ()
    #: Input of the base action: inline parameters over base-input.
    base_input: Mapping[str, Template] = dataclasses.field(default_factory=dict)
    output: Template | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FormSpec:
    """A form with a name, for the human tasks of many workflows."""

    name: str
    line: int
    #: JSON Schema of an object.
    schema: Mapping[str, object]
    description: str = ""
    tags: tuple[str, ...] = ()
    workbook: str = ""
    input: tuple[InputSpec, ...] = ()


#: What a file defines.
Spec: TypeAlias = WorkflowSpec | AdhocActionSpec | FormSpec

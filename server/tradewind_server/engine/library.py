"""What the engine asks of deployed definitions: names resolved as of the registry revision of the root execution."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from tradewind_server.engine.calendars import STANDARD, Calendar
from tradewind_server.lang.sensitive import marked_properties
from tradewind_server.lang.specs import AdhocActionSpec, TaskSpec, WorkflowSpec
from tradewind_server.lang.standard_actions import Signature


@dataclasses.dataclass(frozen=True, slots=True)
class AttachmentLimits:
    """What the attachments of one human task may be; the fields are settings."""

    #: One of them.
    max_attachment_bytes: int = 1024 * 1024
    #: At a time.
    max_attachments: int = 20
    #: All of them together.
    max_attachments_bytes: int = 10 * 1024 * 1024


class Library(Protocol):
    """Names to definitions, within one namespace, workflow namespace and registry revision."""

    def workflow(self, name: str) -> WorkflowSpec | None:
        """Return the workflow called *name*, falling back to the default workflow namespace."""

    def adhoc_action(self, name: str) -> AdhocActionSpec | None:
        """Return the ad-hoc action called *name*, falling back to the default workflow namespace."""

    def signature(self, name: str) -> Signature | None:
        """Return what the built-in action *name* takes; None when it is not built in."""

    def sensitive(self, spec: WorkflowSpec) -> Sequence[str]:
        """Return the names that *spec* and the workflows that it can call mark as sensitive."""

    def with_form(self, spec: WorkflowSpec, task: TaskSpec) -> TaskSpec:
        """Return a human task of *spec* with the form that it names; without one if there is none."""

    @property
    def open_world(self) -> bool:
        """Tell whether an action that is not known here may be served by a worker that comes later."""

    @property
    def max_payload_bytes(self) -> int:
        """Return the most bytes that one input, result or set of published values may have."""

    @property
    def attachment_limits(self) -> AttachmentLimits:
        """Return what the attachments of one human task may be."""

    @property
    def max_tasks(self) -> int:
        """Return the most tasks that one execution may make."""

    def calendar(self, name: str) -> Calendar | None:
        """Return the calendar called *name*, for "" the one that counts where none is named."""

    @property
    def notify_asked(self) -> bool:
        """Tell whether people are told that they are asked where the definition does not say."""

    @property
    def etag_key(self) -> bytes:
        """Return what etags are made with; it is the same at all servers of a database."""


@dataclasses.dataclass(frozen=True, slots=True)
class FixedLibrary:
    """A library made of mappings; the store builds one for each registry revision."""

    workflows: Mapping[str, WorkflowSpec] = dataclasses.field(default_factory=dict)
    adhoc_actions: Mapping[str, AdhocActionSpec] = dataclasses.field(default_factory=dict)
    signatures: Mapping[str, Signature] = dataclasses.field(default_factory=dict)
    #: By name, and by name@version.
    forms: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    open_world: bool = True
    max_payload_bytes: int = 1024 * 1024
    max_tasks: int = 100_000
    #: Name -> calendar; "" is the one that counts where none is named.
    calendars: Mapping[str, Calendar] = dataclasses.field(default_factory=lambda: {"": STANDARD})
    notify_asked: bool = False
    etag_key: bytes = b""
    attachment_limits: AttachmentLimits = AttachmentLimits()
    _sensitive: dict[str, tuple[WorkflowSpec, Sequence[str]]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def workflow(self, name: str) -> WorkflowSpec | None:
        """Return the workflow called *name*."""
        return self.workflows.get(name)

    def adhoc_action(self, name: str) -> AdhocActionSpec | None:
        """Return the ad-hoc action called *name*."""
        return self.adhoc_actions.get(name)

    def signature(self, name: str) -> Signature | None:
        """Return what the built-in action *name* takes."""
        return self.signatures.get(name)

    def calendar(self, name: str) -> Calendar | None:
        """Return the calendar called *name*."""
        return self.calendars.get(name)

    def sensitive(self, spec: WorkflowSpec) -> Sequence[str]:
        """Return the names that *spec* and the workflows that it can call mark as sensitive."""
        known = self._sensitive.get(spec.name)
        if known is None or known[0] is not spec:
            called = list(self._called(spec))
            names = {name for found in called for name in found.sensitive}
            for found in called:
                for task in found.tasks.values():
                    names.update(marked_properties(self._form(found, task)))
            known = self._sensitive[spec.name] = (spec, sorted(names))
        return known[1]

    def with_form(self, spec: WorkflowSpec, task: TaskSpec) -> TaskSpec:
        """Return a human task of *spec* with the form that it names; without one if there is none."""
        form = self._form(spec, task)
        if form is None or task.human is None:
            return task
        return dataclasses.replace(task, human=dataclasses.replace(task.human, form=form))

    def _form(self, spec: WorkflowSpec, task: TaskSpec) -> Mapping[str, object] | None:
        name = task.human.form_name if task.human is not None else ""
        own = self.forms.get(f"{spec.workbook}.{name}") if spec.workbook and name else None
        return own if own is not None else self.forms.get(name)

    def _called(self, spec: WorkflowSpec) -> Iterator[WorkflowSpec]:
        """Give *spec* and all that it can call; a name that an expression gives may be any."""
        seen, todo = {spec.name}, [spec]
        while todo:
            found = todo.pop()
            yield found
            for task in found.tasks.values():
                for called in self._callees(found, task) if task.kind == "workflow" else ():
                    if called.name not in seen:
                        seen.add(called.name)
                        todo.append(called)

    def _callees(self, spec: WorkflowSpec, task: TaskSpec) -> Iterator[WorkflowSpec]:
        if not task.callee.is_constant:
            yield from self.workflows.values()
            return
        name = str(task.callee.source)
        qualified = f"{spec.workbook}.{name}" if spec.workbook else name
        called = self.workflows.get(qualified) or self.workflows.get(name)
        if called is not None:
            yield called

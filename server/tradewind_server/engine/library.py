"""What the engine asks of deployed definitions: names resolved as of the registry revision of the root execution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from tradewind_server.engine.calendars import STANDARD, Calendar
from tradewind_server.lang.specs import AdhocActionSpec, WorkflowSpec
from tradewind_server.lang.standard_actions import Signature


class Library(Protocol):
    """Names to definitions, within one namespace, workflow namespace and registry revision."""

    def workflow(self, name: str) -> WorkflowSpec | None:
        """Return the workflow called *name*, falling back to the default workflow namespace."""

    def adhoc_action(self, name: str) -> AdhocActionSpec | None:
        """Return the ad-hoc action called *name*, falling back to the default workflow namespace."""

    def signature(self, name: str) -> Signature | None:
        """Return what the built-in action *name* takes; None when it is not built in."""

    @property
    def open_world(self) -> bool:
        """Tell whether an action that is not known here may be served by a worker that comes later."""

    @property
    def max_payload_bytes(self) -> int:
        """Return the most bytes that one input, result or set of published values may have."""

    @property
    def max_tasks(self) -> int:
        """Return the most tasks that one execution may make."""

    def calendar(self, name: str) -> Calendar | None:
        """Return the calendar called *name*, for "" the one that counts where none is named."""

    @property
    def notify_asked(self) -> bool:
        """Tell whether people are told that they are asked where the definition does not say."""


@dataclasses.dataclass(frozen=True, slots=True)
class FixedLibrary:
    """A library made of mappings; the store builds one for each registry revision."""

    workflows: Mapping[str, WorkflowSpec] = dataclasses.field(default_factory=dict)
    adhoc_actions: Mapping[str, AdhocActionSpec] = dataclasses.field(default_factory=dict)
    signatures: Mapping[str, Signature] = dataclasses.field(default_factory=dict)
    open_world: bool = True
    max_payload_bytes: int = 1024 * 1024
    max_tasks: int = 100_000
    #: Name -> calendar; "" is the one that counts where none is named.
    calendars: Mapping[str, Calendar] = dataclasses.field(default_factory=lambda: {"": STANDARD})
    notify_asked: bool = False

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

"""Mistral's start parameter `notify`: webhooks of one execution and all below it.

They are sent as those of subscriptions are: the n-th targets of all executions of a namespace are one subscription,
`notify/n`, made by the first start that needs it. The targets themselves stay with their execution, in its first event.

Source: mistral/notifiers/default_notifier.py, notification_events.py; docs/mistral.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tradewind_server.engine.codec import TYPES
from tradewind_server.lang.values import decode
from tradewind_server.runtime.tail import Read
from tradewind_server.store import loading
from tradewind_server.store.event_filter import states
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.webhooks import Webhook

PREFIX = "notify/"
MOST_TARGETS = 5
#: Roots whose targets are remembered.
_MOST_ROOTS = 10_000

#: Our types by Mistral's names. TASK_PAUSED is a task's state, TASK_RERUN has no event of its own.
_MISTRAL: Mapping[str, str] = {
    "WORKFLOW_LAUNCHED": "ExecutionStarted",
    "WORKFLOW_SUCCEEDED": "ExecutionSucceeded",
    "WORKFLOW_FAILED": "ExecutionFailed",
    "WORKFLOW_CANCELLED": "ExecutionCancelled",
    "WORKFLOW_PAUSED": "ExecutionPaused",
    "WORKFLOW_RESUMED": "ExecutionResumed",
    "WORKFLOW_RERUN": "ExecutionReopened",
    "TASK_LAUNCHED": "TaskStarted",
    "TASK_SUCCEEDED": "TaskSucceeded",
    "TASK_FAILED": "TaskFailed",
    "TASK_CANCELLED": "TaskCancelled",
    "TASK_RESUMED": "TaskContinued",
    "TASK_SKIPPED": "TaskSkipped",
}
_PAUSED = "TASK_PAUSED"


class Unusable(ValueError):
    """The parameter cannot be used; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One entry of the parameter."""

    webhook: Webhook
    #: Types of events, or none for all.
    types: frozenset[str]

    def wants(self, event: StoredEvent) -> bool:
        """Tell whether *event* is to be sent."""
        if not self.types or event.type in self.types:
            return True
        return _PAUSED in self.types and states(event)[1] == "PAUSED"


def targets(params: Mapping[str, object]) -> list[Target]:
    """Return the targets that start parameters name.

    Raises:
        Unusable: they cannot be used.
    """
    given = params.get("notify")
    if given is None:
        return []
    if not isinstance(given, list):
        raise Unusable("it is no list")
    if len(given) > MOST_TARGETS:
        raise Unusable(f"it has {len(given)} entries; at most {MOST_TARGETS} are served")
    return [_target(entry) for entry in given]


def _target(entry: object) -> Target:
    if not isinstance(entry, dict):
        raise Unusable("an entry is no dictionary")
    unknown = entry.keys() - {"type", "url", "headers", "event_types", "signing_secret"}
    if unknown:
        raise Unusable(f"an entry has the unknown key '{min(unknown)}'")
    kind = entry.get("type")
    if kind != "webhook":
        raise Unusable(f"type '{kind}' is not served: use type webhook, or a subscription (docs/subscriptions.md)")
    headers = entry.get("headers") or {}
    url, secret = entry.get("url"), entry.get("signing_secret") or ""
    texts = [url, secret, *(headers.values() if isinstance(headers, dict) else [None])]
    if not all(isinstance(text, str) for text in texts):
        raise Unusable("an entry needs url, and what is in headers, as text")
    assert isinstance(headers, dict)
    if any("secret(" in str(value) for value in headers.values()):
        # whoever may start something need not be one who may use the server's secrets
        raise Unusable("its headers hold a secret; a subscription may have that (docs/subscriptions.md)")
    webhook = Webhook(url=str(url), headers={str(k): str(v) for k, v in headers.items()}, signing_secret=str(secret))
    return Target(webhook, _types(entry.get("event_types") or []))


def _types(given: Any) -> frozenset[str]:
    if not isinstance(given, list):
        raise Unusable("event_types is no list")
    for name in given:
        if name not in _MISTRAL and name not in TYPES and name != _PAUSED:
            hint = "; a rerun begins with TASK_LAUNCHED" if name == "TASK_RERUN" else ""
            raise Unusable(f"there is no event type '{name}'{hint}")
    return frozenset(_MISTRAL.get(name, name) for name in given)


class NotifyRoute:
    """The events that go to the n-th targets of their executions, and where. Lives on the event loop."""

    def __init__(self, number: int, read: Read) -> None:
        self._number = number
        self._read = read
        self._targets: dict[str, Target | None] = {}

    async def of(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return those of *events* that are to be sent."""
        await self._learn({_root(event) for event in events})
        return [event for event in events if (target := self._targets.get(_root(event))) and target.wants(event)]

    def webhook(self, event: StoredEvent) -> Webhook:
        """Return where an event goes, of those that `of` has just returned."""
        target = self._targets[_root(event)]
        assert target is not None
        return target.webhook

    async def _learn(self, roots: set[str]) -> None:
        if len(self._targets) > _MOST_ROOTS:
            self._targets.clear()
        unknown = roots - self._targets.keys()
        if unknown:
            number = self._number
            found = await self._read(lambda c, _: {root: _stored_target(c, root, number) for root in unknown})
            self._targets.update(found)


def _root(event: StoredEvent) -> str:
    return event.root_id or event.execution_id


def _stored_target(connection: Any, root: str, number: int) -> Target | None:
    events = loading.read_events(connection, root, 0, 1)
    if not events or b'"notify"' not in events[0].body:
        return None
    started: Any = decode(events[0].body)
    try:
        found = targets(started.get("params") or {})
    except Unusable:
        # it was accepted by a server that knew more: not ours to send
        return None
    return found[number] if number < len(found) else None

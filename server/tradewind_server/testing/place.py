"""Where a scenario is played, as far as its stage has to know: in a `World`, or by a client of a real server."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from tradewind_server.clock import Clock
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.state import Execution
from tradewind_server.store.notifications import Notification
from tradewind_server.store.records import StoredEvent


class Place(Protocol):
    """Whatever is asked here has been carried out, with all that follows from it now, when it is answered.

    Refusals are raised as the `Refusal` that the server declares.
    """

    @property
    def clock(self) -> Clock:
        """What its moments come from."""

    @property
    def moment(self) -> int:
        """A number that rises with all that happens: what was seen holds as long as it stays."""

    @property
    def held(self) -> Container[tuple[str, int]]:
        """What workers have been given: execution and action."""

    @property
    def stand_ins(self) -> Container[str]:
        """The sub-workflows for which mocks stand."""

    # --- asking ----------------------------------------------------------------------------------

    def deploy(self, *texts: str) -> None:
        """Deploy definitions."""

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

    def command(self, execution_id: str, command: c.Command, *, task_name: str = "", by: str = "") -> object:
        """Carry out a command on an execution, as the user *by* or anonymously."""

    def add_absence(self, user: str, substitute: str, during: timedelta) -> None:
        """Let somebody stand in for a user from now on."""

    def lease(self, *names: str) -> object:
        """Lease all queued actions of these *names*, as a worker would that comes, takes them and stays."""

    def answer(self, execution_id: str, command: c.Answer) -> object:
        """End an action: as the worker that holds it or, if nobody does, from outside."""

    def end_stand_in(self, child: str, command: c.Answer) -> None:
        """End a sub-workflow for which a mock stands."""

    def advance(self, by: timedelta) -> None:
        """Let time pass."""

    # --- looking ---------------------------------------------------------------------------------

    def exists(self, execution_id: str) -> bool:
        """Tell whether there is such an execution."""

    def state(self, execution_id: str) -> Execution:
        """Return the state of an execution."""

    def events(self, execution_id: str) -> list[StoredEvent]:
        """Return the log of an execution."""

    def notifications(self, execution_id: str) -> Sequence[tuple[Notification, e.NotificationRequested]]:
        """Return the notifications of an execution, and the events that asked for them."""

"""The actions that talk to the world, and what they share: where they may connect to, and which files they may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tradewind_server.actions.egress import EgressPolicy
from tradewind_server.actions.email import EmailAction
from tradewind_server.actions.files import Files
from tradewind_server.actions.http import HttpAction
from tradewind_server.actions.outcome import Caller
from tradewind_server.actions.ssh import SshAction
from tradewind_server.clock import SystemClock
from tradewind_server.ids import Ids
from tradewind_server.settings import Settings


class Outside:
    """Does these actions. Use it within one event loop, and close it."""

    def __init__(self, settings: Settings, clock: SystemClock, ids: Ids) -> None:
        policy, files = EgressPolicy(settings.allow_private_addresses), Files(settings.files_dir)
        self._http = HttpAction(policy, files, callback_url=settings.callback_url)
        ssh = SshAction(policy, files, settings.known_hosts, settings.insecure_hosts)
        #: What each one does.
        self.runs: Mapping[str, Callable[[Mapping[str, object]], Awaitable[object]]] = {
            "std.http": self._http.run,
            "std.email": EmailAction(policy, files, clock.now, ids).run,
            "std.ssh": ssh.run,
            "std.ssh_proxied": ssh.run,
        }
        #: What begins each of those whose result comes later, from outside.
        self.posts: Mapping[str, Callable[[Mapping[str, object], Caller], Awaitable[None]]] = {
            "std.mistral_http": self._http.post,
        }

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

"""Libraries that few servers or few commands use are loaded when they are used.

To load all of them takes a third of the time in which a server starts (docs/adr/0029-starting-soon.md). A module names
one as it would import it:

    if TYPE_CHECKING:
        import asyncssh
    else:
        asyncssh = OnDemand("asyncssh")

On the event loop it says when: `await loaded(asyncssh)`.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any


class OnDemand:
    """Stands for a module until something of it is asked for, and passes that on. Thread-safe, as imports are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_loaded = False

    async def _arrive(self) -> None:
        if not self._is_loaded:
            await asyncio.to_thread(importlib.import_module, self._name)
            self._is_loaded = True

    def __getattr__(self, name: str) -> Any:
        """Return what the module calls *name*."""
        return getattr(importlib.import_module(self._name), name)


async def loaded(module: object) -> None:
    """Wait until what stands for a module has it. It is loaded in a thread, so that the event loop goes on.

    What takes 130 ms there stops the loop for 9 at a time.
    """
    if isinstance(module, OnDemand):
        await module._arrive()

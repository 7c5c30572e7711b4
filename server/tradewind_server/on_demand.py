"""Libraries that few servers or few commands use are loaded when they are used.

To load all of them takes a third of the time in which a server starts (docs/adr/0029-starting-soon.md). A module names
one as it would import it:

    if TYPE_CHECKING:
        import asyncssh
    else:
        asyncssh = OnDemand("asyncssh")
"""

from __future__ import annotations

import importlib
from typing import Any


class OnDemand:
    """Stands for a module until something of it is asked for, and passes that on. Thread-safe, as imports are."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Return what the module calls *name*."""
        return getattr(importlib.import_module(self._name), name)

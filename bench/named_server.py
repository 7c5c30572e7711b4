"""The command `tradewind` with one addition: the operating system gets to know the names of its threads.

Python keeps them to itself before 3.14, and then nobody could say which thread used the processor.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from tradewind_server.cli import main

_PR_SET_NAME = 15


def name_threads() -> None:
    """From now on, every thread tells its name when it starts."""
    libc = ctypes.CDLL(None)
    run: Callable[[threading.Thread], None] = threading.Thread.run

    def named(self: threading.Thread) -> None:
        libc.prctl(_PR_SET_NAME, self.name.encode()[:15], 0, 0, 0)
        run(self)

    threading.Thread.run = named  # type: ignore[method-assign]


if __name__ == "__main__":
    name_threads()
    main()

"""The command `tradewind` with one addition: the operating system gets to know the names of its threads. Linux only.

Python keeps them to itself before 3.14, and then nobody could say which thread used the processor.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from tradewind_server.cli import main

_EVERY_SECONDS = 0.5


def name_threads() -> None:
    """Tell the kernel the names of all threads, again and again: new ones come."""
    while True:
        for thread in threading.enumerate():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                Path(f"/proc/self/task/{thread.native_id}/comm").write_text(thread.name[:15])
        threading.Event().wait(_EVERY_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=name_threads, name="naming", daemon=True).start()
    main()

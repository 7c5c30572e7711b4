"""How often this process searches for garbage that counting does not find, and through what.

What has been loaded stays, and what is made is mostly freed by counting. At Python's own thresholds a fifth of the time
in which a server starts would go into walking through what was just loaded, and later the cached states would be walked
thousands of times an hour.
"""

from __future__ import annotations

import functools
import gc


def search_rarely() -> None:
    """Search after fifty thousand new objects, not after seven hundred."""
    gc.set_threshold(50_000, 20, 100)


@functools.cache
def leave_out_what_is_loaded() -> None:
    """Search through what is made from now on only.

    Once in a process: if each server did so when it starts, what is left of those that have stopped would stay for
    ever, 0.6 MB each and more (tests start thousands).
    """
    gc.freeze()

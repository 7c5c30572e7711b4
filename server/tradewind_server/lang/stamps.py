"""Whether a file by which a server is set up has changed since it was read."""

from __future__ import annotations

from pathlib import Path


def stamp_of(path: str) -> tuple[int, ...]:
    """Return what changes with a file, also when another of the same size and age takes its place; () without one."""
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size

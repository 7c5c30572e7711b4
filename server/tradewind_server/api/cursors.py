"""Places in logs as cursors: opaque, signed, and of one namespace, or of one execution's actions."""

from __future__ import annotations

import functools

from tradewind_server.api.pages import Pages
from tradewind_server.errors import CursorInvalid, PageTokenInvalid
from tradewind_server.store import action_logs
from tradewind_server.store.log import Place


def cursor(pages: Pages, namespace: str, place: Place) -> str:
    """Return the cursor of *place*."""
    return _signed(pages, namespace, (place.xid, place.position, place.execution_id, place.revision, place.at))


@functools.lru_cache(256)
def _signed(pages: Pages, namespace: str, position: tuple[int, int, str, int, int]) -> str:
    """Return the cursor of a position; of thousands who follow a log most are at the same."""
    return pages.token(("events", namespace), position)


def place(pages: Pages, namespace: str, cursor: str) -> Place:
    """Return the place of *cursor*.

    Raises:
        CursorInvalid: it is of another namespace, or no cursor.
    """
    try:
        xid, position, id_, revision, at = pages.position(("events", namespace), cursor)
    except (PageTokenInvalid, ValueError):
        raise CursorInvalid(field="cursor") from None
    return Place(int(str(xid)), int(str(position)), str(id_), int(str(revision)), int(str(at)))


def log_cursor(pages: Pages, of: tuple[str, int], place: action_logs.Place) -> str:
    """Return the cursor of *place* in the logs of an execution and one of its actions, or all for 0."""
    return pages.token(("action logs", *of), place)


def log_place(pages: Pages, of: tuple[str, int], cursor: str) -> action_logs.Place:
    """Return the place of *cursor*; the beginning for "".

    Raises:
        CursorInvalid: it is of another execution or action, or no cursor.
    """
    try:
        return action_logs.Place(*(int(str(part)) for part in pages.position(("action logs", *of), cursor)))
    except (PageTokenInvalid, ValueError):
        raise CursorInvalid(field="cursor") from None

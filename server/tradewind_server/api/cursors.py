"""Places in the log as cursors: opaque, signed, and of one namespace."""

from __future__ import annotations

import functools

from tradewind_server.api.pages import Pages
from tradewind_server.errors import CursorInvalid, PageTokenInvalid
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

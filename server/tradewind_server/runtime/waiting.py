"""Waiting on the event loop for something that may never come."""

from __future__ import annotations

import asyncio


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until *event* is set, *seconds* at most, or for ever with None; return whether it is. It is not cleared."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

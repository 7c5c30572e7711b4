"""Servers for the API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.harness import Served, serving


@pytest_asyncio.fixture
async def served(database_url: str) -> AsyncIterator[Served]:
    """Give a server with the workflow `one`, once per kind of database."""
    async with serving(database_url) as served:
        yield served

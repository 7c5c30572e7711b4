"""What tests share: databases to run on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tradewind_server.store.database import Database
from tradewind_server.testing.postgres import PrivatePostgres, find_binaries

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """Give a private PostgreSQL; without one the test is skipped, and on CI that is a failure."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is missing, and on CI the tests must run on it")
        pytest.skip("PostgreSQL is not installed")
    with PrivatePostgres(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of an empty database, once per kind."""
    if request.param == "sqlite":
        return ""
    make: Callable[[], str] = request.getfixturevalue("postgres_url")
    return make()


@pytest.fixture(scope="session")
def _migrated(postgres: PrivatePostgres) -> str:
    """Give the name of a database with the schema and nothing in it: a copy takes a third of the time of migrations."""
    Database(postgres.create("migrated")).close()
    return "migrated"


@pytest.fixture
def postgres_url(postgres: PrivatePostgres, _migrated: str) -> Callable[[], str]:
    """Give a maker of URLs of PostgreSQL databases with nothing in them."""
    return lambda: postgres.create(f"test{next(_numbers)}", _migrated)

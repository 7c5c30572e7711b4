"""What tests share: databases to run on."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from tradewind_server import garbage
from tradewind_server.event_loop import EventLoop
from tradewind_server.store import schema
from tradewind_server.store.database import Database
from tradewind_server.testing.postgres import PrivatePostgres, find_binaries

_numbers = itertools.count()

# Hypothesis fails a test if an example takes longer than 0.2 s, or if examples are slow to make: on a machine that does
# other things, too, that says nothing of the code.
settings.register_profile("tradewind", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tradewind")

#: Files that take the longest. With several processes each file is one's alone: one of these at the end would leave the
#: others without work.
_FIRST = (
    "test_check_fuzz.py",
    "test_crash.py",
    "test_decisions.py",
    "test_go_client.py",
    "test_interruptions.py",
    "test_operating.py",
    "test_packaging.py",
    "test_pages.py",
    "test_quick.py",
    "test_random_votes.py",
    "test_salary.py",
    "test_scenarios.py",
    "test_scenarios_over_grpc.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes the longest; of all else let files that mostly wait and files that mostly work take turns.

    Those of the API wait for leases and pauses: all at once they would leave the machine without work.
    """
    files = [list(tests) for _, tests in itertools.groupby(items, lambda item: item.path)]
    first = [tests for tests in files if tests[0].path.name in _FIRST]
    waiting = [tests for tests in files if tests not in first and tests[0].path.parent.name == "api"]
    working = [tests for tests in files if tests not in first and tests not in waiting]
    turns = itertools.chain.from_iterable(itertools.zip_longest(waiting, working, fillvalue=[]))
    items[:] = itertools.chain.from_iterable((*first, *turns))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run servers and clients of tests on the event loop that servers have."""
    return {"server": EventLoop}


def pytest_collection_finish() -> None:
    """Search for garbage as rarely as a server does, in processes without one, too."""
    gc.collect()
    gc.freeze()
    garbage.search_rarely()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out on purpose, beside what was skipped."""
    if config.option.markexpr == "not long":
        targets = "`make long`, `make simulate`, `make chaos`, `make check-watch`"
        terminalreporter.write_line(f"left out for its length: {targets}")


#: The file system in memory that Linux has, and what must be free there: more than all databases of a run take.
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 4 << 30


@pytest.fixture(scope="session", autouse=True)
def _memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep databases of tests in memory, if there is room: on a disk most tests wait for it with each commit.

    They end with their process, so nothing of what they promise is lost. What a test has of `tmp_path` stays on the
    disk, to be looked at, and so does what programs of their own write.
    """
    tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        if _has_room(_MEMORY):
            patch.setattr(tempfile, "tempdir", str(_MEMORY))
        yield


def _has_room(folder: Path) -> bool:
    """Tell whether there is a folder with room for databases."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= _MEMORY_BYTES


@pytest.fixture(scope="session")
def postgres(_memory: None) -> Iterator[PrivatePostgres]:
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


class Databases:
    """Databases with the schema and nothing in them, used again and again: to make one takes longer than most tests."""

    def __init__(self, server: PrivatePostgres) -> None:
        self._server = server
        Database(server.create("migrated")).close()
        self._free: list[str] = []

    def take(self) -> str:
        """Return the URL of one."""
        return self._free.pop() if self._free else self._server.create(f"test{next(_numbers)}", "migrated")

    def give_back(self, url: str) -> None:
        """Empty one, unless somebody still uses it: that one is left alone."""
        with psycopg.connect(url, autocommit=True) as connection:
            others = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if connection.execute(others + " AND backend_type = 'client backend'").fetchone() != (0,):
                return
            names = [table.name for table in schema.metadata.sorted_tables]
            found = {
                name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            }
            # said here, of the test that did it; otherwise whichever test comes next with this database fails
            assert found == {*names, "alembic_version"}, "a test left tables of its own"
            connection.execute("".join(f'DELETE FROM "{name}";' for name in reversed(names)).encode())
        self._free.append(url)


@pytest.fixture(scope="session")
def _databases(postgres: PrivatePostgres) -> Databases:
    return Databases(postgres)


@pytest.fixture
def postgres_url(_databases: Databases) -> Iterator[Callable[[], str]]:
    """Give a maker of URLs of PostgreSQL databases with nothing in them."""
    taken: list[str] = []

    def take() -> str:
        taken.append(_databases.take())
        return taken[-1]

    yield take
    for url in taken:
        _databases.give_back(url)

"""Opening a database: URL, pools, the lock of an SQLite file, migrations."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import sqlalchemy as sa

from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.on_demand import OnDemand
from tradewind_server.store import numbers, schema
from tradewind_server.store.copying import BUSY_MS, Copying
from tradewind_server.store.statements import Dialect

if TYPE_CHECKING:
    from tradewind_server.store import migrating
else:
    migrating = OnDemand("tradewind_server.store.migrating")

log = logging.getLogger(__name__)

#: Advisory lock under which PostgreSQL migrations run; an arbitrary number of ours.
_MIGRATION_LOCK = 7233_2026
_BOUNDS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
#: SQLSTATEs of what no server can begin with: a user who may not do this, such as make tables; a database that takes no
#: writes, such as a standby; a search_path without a schema; a pooler that gives each transaction another connection,
#: where the statements of others are prepared already.
_NOT_POSSIBLE = ("42501", "25006", "3F000", "42P05")
#: PostgreSQL takes no writes: it has become a standby, or whoever runs it has stopped them, as where its disk is full.
_TAKES_NO_WRITES = "25006"
#: As `_NOT_POSSIBLE` of SQLite: a file or disk that takes no writes, has no room, or fails.
_NOT_POSSIBLE_ON_SQLITE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT)
#: How libpq's own form of an address begins, and a URL that lacks a slash: neither is a path, and may have a password.
_NO_PATH = re.compile(r"\s*\w+\s*=|postgres\w*(\+\w+)?:(?!//)", re.IGNORECASE)
#: One behind the question mark of a URL: mark, name and value.
_PARAMETER = re.compile(r"([?&]([^=&]*)=)([^&]*)")
_NEWER = "it was made by a newer version, and there is no way back"
_TAKEN = (
    "it has a table '{table}' already, and no word in alembic_version of what made it. "
    "Restore all of a backup, or give Tradewind a database or schema of its own"
)
_OF_OTHERS = "its table alembic_version is another program's. Give Tradewind a database or schema of its own"
_ANOTHER_FILE = (
    "its file was removed or replaced while the server ran; put it back, or restore a backup and start the server anew"
)
MIGRATIONS = Path(__file__).parent / "migrations"
#: Connections for reads beside the committer's own.
_READ_CONNECTIONS = 8


class DatabaseInUse(Exception):
    """Another server holds the SQLite file; the text names its pid."""


class UnusableDatabase(Exception):
    """The database cannot be opened; the text says why, in one line and without a password."""


class Database:
    """One opened database: connections for committers, and a pool for readers.

    Thread-safe except for the committers' connections, which one thread uses.

    Attributes:
        losses: how many connections of committers have been given up.
        copying: of SQLite's log.

    Raises:
        DatabaseInUse: another server holds the SQLite file.
        UnusableDatabase: it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.losses = 0
        self.copying = Copying()
        with contextlib.ExitStack() as cleanup:
            self.url = _resolve(url, cleanup)
            self.is_postgresql = self.url.get_backend_name() == "postgresql"
            with _telling_why_not(self.url):
                if not self.is_postgresql:
                    cleanup.enter_context(_file_lock(Path(str(self.url.database)).resolve()))
                self._writer = _engine(self.url, 1)
                cleanup.callback(self._writer.dispose)
                self._readers = _engine(self.url, _READ_CONNECTIONS)
                cleanup.callback(self._readers.dispose)
                self._writer.connect().close()
                self._file = _File.found(self.url)
            self.xid_offset = _migrate_if_possible(self._writer)
            self._cleanup = cleanup.pop_all()

    @property
    def name(self) -> str:
        """Return "postgresql" or "sqlite"."""
        return "postgresql" if self.is_postgresql else "sqlite"

    def check_file(self) -> None:
        """Check that SQLite's file is still the one that was opened.

        What is written into a file that has no name any more is gone when the server ends; and a connection that is new
        would be one to another file.

        Raises:
            DatabaseUnavailable: it was removed or replaced.
        """
        if self._file is not None and not self._file.is_in_place():
            raise DatabaseUnavailable(problem=_ANOTHER_FILE)

    def connect_writer(self) -> sa.Connection:
        """Return a new autocommit connection for a committer."""
        self.check_file()
        return self._writer.connect()

    def connect_reader(self) -> sa.Connection:
        """Return a connection of the readers' pool, in autocommit."""
        self.check_file()
        return self._readers.connect()

    @contextlib.contextmanager
    def reading(self) -> Iterator[tuple[sa.Connection, Dialect]]:
        """Give a connection that sees one consistent snapshot; it never waits for the committer."""
        with self.connect_reader() as connection:
            # SQLite: a deferred transaction takes its snapshot at the first read
            begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if self.is_postgresql else "BEGIN"
            connection.exec_driver_sql(begin)
            try:
                yield connection, Dialect(connection)
            finally:
                # a lost connection has nothing to roll back, and trying would hide why it was lost
                if not connection.invalidated:
                    connection.exec_driver_sql("ROLLBACK")

    def durability(self) -> str:
        """Return how the database promises durability, read back from it: for the bench."""
        with self._writer.connect() as connection:
            if self.is_postgresql:
                return f"synchronous_commit={connection.exec_driver_sql('SHOW synchronous_commit').scalar()}"
            level = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
            value = connection.exec_driver_sql("PRAGMA synchronous").scalar()
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            return f"journal_mode={journal} synchronous={level[int(value or 0)]}"

    def installation_value(self, name: str, default: str) -> str:
        """Return the installation's value called *name*; the first server to ask sets it."""
        table = schema.installation
        mark = "%s" if self.is_postgresql else "?"
        insert = f"INSERT INTO installation (name, value) VALUES ({mark}, {mark}) ON CONFLICT (name) DO NOTHING"
        with _telling_what_is_not_possible(self.url), self._writer.connect() as connection:
            connection.exec_driver_sql(insert, (name, default))
            return str(connection.execute(sa.select(table.c.value).where(table.c.name == name)).scalar_one())

    def copy_back(self) -> None:
        """Copy what SQLite has committed from its log into the file, while the committer goes on."""
        with self.connect_reader() as connection:
            self.copying.copy(connection)

    def close(self) -> None:
        """Close all connections and release the file lock."""
        self._cleanup.close()


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    """SQLite's file, as it was found: a file of the same name need not be the same one."""

    path: str
    device: int
    number: int

    @classmethod
    def found(cls, url: sa.URL) -> _File | None:
        """Return the file behind *url*; None if it is none, or its name no path."""
        path = os.path.realpath(str(url.database))
        if url.get_backend_name() != "sqlite" or not os.path.exists(path):
            return None
        status = os.stat(path)
        return cls(path, status.st_dev, status.st_ino)

    def is_in_place(self) -> bool:
        """Tell whether it still has its name."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.number)


def _resolve(url: str, cleanup: contextlib.ExitStack) -> sa.URL:
    if not url or url in ("memory", ":memory:", "sqlite://", "sqlite:///:memory:"):
        # one code path: "in memory" is a private temporary file
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tradewind-"))
        file = Path(folder, "tradewind.db")
        file.write_bytes(_migrated())
        return sa.URL.create("sqlite", database=str(file))
    if _NO_PATH.match(url):
        raise UnusableDatabase(
            "Expected a path of an SQLite file, or a URL such as postgresql://user:password@host/name, but got neither."
            " Keywords of libpq go behind a question mark: postgresql:///name?host=db1&user=me."
        )
    if "://" not in url:
        return sa.URL.create("sqlite", database=os.path.abspath(url))
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _parse(url: str) -> sa.URL:
    try:
        # PostgreSQL's own programs take both
        parsed = sa.make_url(re.sub("^postgres://", "postgresql://", url))
    except (sa.exc.ArgumentError, ValueError):
        # the text of neither is told: it may have a part of the password
        raise UnusableDatabase(
            "Expected the URL of a database, such as postgresql://user:password@host/name, but it cannot be read. "
            "In a user and a password '/' is written as %2F, ':' as %3A and '@' as %40."
        ) from None
    backend = parsed.get_backend_name()
    if backend not in ("postgresql", "sqlite"):
        raise UnusableDatabase(f"Expected the URL of a PostgreSQL or SQLite database, but '{backend}' is neither.")
    return parsed


@contextlib.contextmanager
def _telling_why_not(url: sa.URL) -> Iterator[None]:
    """Turn what goes wrong while a database is opened into one sentence."""
    try:
        yield
    except OSError as error:
        problem = str(error)
    except sa.exc.DBAPIError as error:
        problem = str(error.orig)
    except sa.exc.NoSuchModuleError:
        problem = f"its driver '{url.drivername}' is not installed"
    except sa.exc.ArgumentError as error:
        problem = f"its URL cannot be used: {error}"
    else:
        return
    raise _unusable(url, problem) from None


def _unusable(url: sa.URL, problem: str) -> UnusableDatabase:
    # further lines are guesses, or the statement
    first = " ".join(problem.partition("\n")[0].split())
    return UnusableDatabase(
        f"Expected to open the database {shown(url.render_as_string(hide_password=False))}, but: {first}."
    )


def shown(database: str) -> str:
    """Return the URL of a database without a password, wherever it stands, and else as it was written; or its path."""
    database = _PARAMETER.sub(lambda found: found[1] + ("***" if _is_secret(found[2]) else found[3]), database)
    scheme, separator, rest = database.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{place}"


def _is_secret(name: str) -> bool:
    return "passw" in unquote(name).lower()


def brief(error: sa.exc.DBAPIError) -> str:
    """Return what the database said, in one line."""
    return str(error.orig).split("\n", 1)[0]


def is_unavailable(error: sa.exc.DBAPIError) -> bool:
    """Tell whether the database as a whole does not do what it is asked, and not just this once with this row."""
    if error.connection_invalidated or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return True
    return getattr(error.orig, "sqlstate", None) == _TAKES_NO_WRITES


def _migrate_if_possible(engine: sa.Engine) -> int:
    """Migrate; what else goes wrong than this is a fault of ours, and told with all there is."""
    try:
        with _telling_what_is_not_possible(engine.url):
            return migrate(engine)
    except migrating.CommandError:
        raise _unusable(engine.url, _NEWER) from None


@contextlib.contextmanager
def _telling_what_is_not_possible(url: sa.URL) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not _is_not_possible(error.orig):
            raise
        raise _unusable(url, str(error.orig)) from None


def _is_not_possible(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        # the higher bits say more of where it happened
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_POSSIBLE_ON_SQLITE
    return getattr(error, "sqlstate", "") in _NOT_POSSIBLE


@functools.cache
def _migrated() -> bytes:
    """Return an empty SQLite file with the schema: to make one takes longer than most of what private ones are for."""
    engine = sa.create_engine("sqlite://", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        _upgrade(connection)
        made = connection.connection.driver_connection
        assert isinstance(made, sqlite3.Connection)
        content = made.serialize()
    engine.dispose()
    return content


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "a+", encoding="ascii", opener=_own) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise DatabaseInUse(
                f"The database file {path} is in use by the server with pid {lock.read().strip() or 'unknown'}. "
                "Stop that server, use another file, or use PostgreSQL for several servers."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with contextlib.suppress(FileExistsError):
            # by SQLite itself all users of the machine could read it; its other files get the rights of this one
            os.close(_own(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        yield


def _own(path: str, flags: int) -> int:
    """Open a file that, if it is new, its user alone may read, or lock, which those can who can read."""
    return os.open(path, flags, 0o600)


#: A peer that vanished without a word is given up after half a minute (libpq; seconds, milliseconds for the last).
_POSTGRESQL_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def _engine(url: sa.URL, size: int) -> sa.Engine:
    # AUTOCOMMIT: transactions are begun and ended by our own statements
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_size": size, "max_overflow": 2}
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = {
            "application_name": "tradewind",
            "prepare_threshold": 1,
            # whatever the database itself keeps texts in
            "client_encoding": "utf8",
            **_POSTGRESQL_PATIENCE,
        }
        engine = sa.create_engine(url, pool_pre_ping=size > 1, **options)
        sa.event.listen(engine, "connect", _read_moments)
        return engine
    options["connect_args"] = {"check_same_thread": False, "timeout": 30}
    engine = sa.create_engine(url, poolclass=sa.QueuePool, **options)

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        # who copies when is said in `Copying`
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        connection.execute("PRAGMA cache_size=-65536")

    return engine


def _read_moments(connection: Any, _: Any) -> None:
    """Have moments written as the driver reads them, whatever the role or the database says.

    A statement, for poolers refuse what is asked for at the start of a connection.
    """
    connection.execute("SET datestyle = ISO")


def migrate(engine: sa.Engine) -> int:
    """Bring the schema to this version, and return the offset of transaction numbers. Servers take turns."""
    with engine.connect() as connection:
        is_postgresql = connection.dialect.name == "postgresql"
        if is_postgresql:
            # a role's bounds are for its queries: a migration takes what it takes
            connection.exec_driver_sql("".join(f"SET {bound} = 0; " for bound in _BOUNDS))
            _wait_for_others(connection)
        try:
            _upgrade(connection)
            return numbers.offset(connection) if is_postgresql else 0
        finally:
            if is_postgresql:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK})")
                connection.exec_driver_sql("".join(f"RESET {bound}; " for bound in _BOUNDS))


def _wait_for_others(connection: sa.Connection) -> None:
    if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_MIGRATION_LOCK})").scalar():
        log.info("another server looks at the tables, or changes them: waiting until it is done")
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})")


def _upgrade(connection: sa.Connection) -> None:
    """Run the migrations that are not done yet, all or none: no server could go on with half of one."""
    inspector = sa.inspect(connection)
    done = _revisions(inspector, connection)
    if done == [newest_revision()]:
        return
    if not done and (taken := schema.metadata.tables.keys() & inspector.get_table_names()):
        raise _unusable(connection.engine.url, _TAKEN.format(table=min(taken)))
    if not all(map(_is_ours, done)):
        raise _unusable(connection.engine.url, _OF_OTHERS)
    connection.exec_driver_sql("BEGIN")
    try:
        migrating.upgrade(connection, MIGRATIONS)
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _revisions(inspector: sa.Inspector, connection: sa.Connection) -> list[str]:
    """Return the last migration that was done, as Alembic notes it: to ask Alembic takes longer than the rest here."""
    if not inspector.has_table("alembic_version"):
        return []
    return list(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())


def _is_ours(revision: str) -> bool:
    """Tell whether a migration is one of Tradewind's, of this version or a newer one: they are numbered."""
    return len(revision) == len(newest_revision()) and revision.isdecimal()


@functools.cache
def newest_revision() -> str:
    """Return the last migration that there is; their files are numbered."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))

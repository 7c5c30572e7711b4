"""A private PostgreSQL for tests and benchmarks: own data folder, random port, as durable as a real one.

PostgreSQL refuses to run as root; then it runs as the user `postgres`.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tradewind_server.testing.ports import free_port

_BINARIES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_connections": "100",
    "unix_socket_directories": "''",
    "listen_addresses": "127.0.0.1",
    "logging_collector": "off",
}


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres, or None when PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    for pattern in _BINARIES:
        for folder in sorted(glob.glob(pattern), reverse=True):
            if Path(folder, "initdb").exists():
                return Path(folder)
    return None


class PrivatePostgres:
    """One server process with its own data. Use as a context manager."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="tradewind-pg-"))
        self._data = self._folder / "data"
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.port = free_port()

    def __enter__(self) -> PrivatePostgres:
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "tradewind", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def dsn(self) -> str:
        """Return the URL of its database."""
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://tradewind@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template1") -> str:
        """Make a database, empty or a copy of *template*, and return its URL."""
        self._execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.dsn_of(database)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-o", f"-p {self.port} {options}", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast", or "immediate" as if the power had failed."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop", check=False)

    def kill_backends(self, application: str) -> None:
        """Cut the connections of *application*, as a failing network would."""
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{application}'"
        self._execute(query)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(self._binaries / program), *arguments]
        demote = {"user": self._user, "group": self._user, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(  # type: ignore[call-overload]
            command, cwd=self._folder, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **demote
        )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout.decode(errors='replace')}")

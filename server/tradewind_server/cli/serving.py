"""The commands server and dev: serve until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Annotated, Any

import typer
from rich.text import Text

from tradewind_server import __version__
from tradewind_server.cli.output import Output, error_console
from tradewind_server.cli.session import NOT_DONE, Unusable, alone
from tradewind_server.errors import Refusal
from tradewind_server.settings import Settings, from_environment, misspelt, variable

log = logging.getLogger(__name__)

#: What is queued is committed in less, and whoever sends SIGKILL after SIGTERM mostly waits for longer.
_ENDING_SECONDS = 10.0

Listen = Annotated[str | None, typer.Option(help="Host and port; default 127.0.0.1:7233.")]
Database = Annotated[str | None, typer.Option(help="URL of a PostgreSQL database, or a path of an SQLite file.")]
AllowPrivate = Annotated[
    bool | None, typer.Option(help="Let actions connect to loopback and private addresses.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(server)
    app.command()(dev)


@alone
def server(
    output: Output,
    listen: Listen = None,
    database: Database = None,
    tls_certificate: Annotated[str | None, typer.Option(help="PEM file of the certificate chain.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM file of its private key.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Serve without TLS on an address other than loopback.")
    ] = None,
    metrics_listen: Annotated[
        str | None, typer.Option("--metrics", help="Host and port of /metrics for Prometheus; default nowhere.")
    ] = None,
    allow_private_addresses: AllowPrivate = None,
) -> None:
    """Run a server. Every setting is also a variable TRADEWIND_...; options win."""
    settings = read_settings(
        listen=listen,
        database=database,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        insecure=insecure,
        metrics_listen=metrics_listen,
        allow_private_addresses=allow_private_addresses,
    )
    _serve(output, settings, is_dev=False)


@alone
def dev(
    output: Output, listen: Listen = None, database: Database = None, allow_private_addresses: AllowPrivate = None
) -> None:
    """Run everything in one process on an SQLite file, for development."""
    settings = read_settings(listen=listen, database=database, allow_private_addresses=allow_private_addresses)
    _serve(output, settings, is_dev=True)


def read_settings(**overrides: Any) -> Settings:
    """Read the settings of the environment, with options on top.

    Raises:
        Unusable: a variable is not of its setting's type.
    """
    try:
        return from_environment(**overrides)
    except ValueError as problem:
        raise Unusable(f"Expected usable settings, but {problem}.") from None


def _serve(output: Output, settings: Settings, is_dev: bool) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a dozen lines at each start
    for name, meant in misspelt().items():
        _warn(f"{name} is no setting, and has no effect. Did you mean {meant}?")
    from tradewind_server import event_loop

    try:
        event_loop.run(_until_stopped(output, settings, is_dev))
    except Refusal as refusal:
        raise Unusable(str(refusal)) from None


async def _until_stopped(output: Output, settings: Settings, is_dev: bool) -> None:
    # The server brings the whole house with it; the other commands start without.
    from tradewind_server import ids, one_core
    from tradewind_server.bootstrap import Server, Unbindable
    from tradewind_server.store.database import DatabaseInUse, UnusableDatabase, shown

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, *_hang_up()):
        loop.add_signal_handler(number, stop.set)
    try:
        serving = await _started(asyncio.ensure_future(Server.start(settings)), stop, settings.shutdown_grace_seconds)
    except (Unbindable, DatabaseInUse, UnusableDatabase) as problem:
        raise Unusable(str(problem)) from None
    for warning in serving.warnings:
        _warn(warning)
    busiest = (threading.get_native_id(), serving.runtime.committer_thread_id)
    keeping = loop.create_task(one_core.keep(busiest, ids.draw)) if settings.one_core else None
    _announce(output, serving.address, shown(settings.database) or "a temporary file", is_dev)
    if serving.metrics:
        log.info("metrics are at %s", serving.metrics)
    stopped = asyncio.ensure_future(serving.wait_stopped())
    asked = asyncio.ensure_future(stop.wait())
    await asyncio.wait((stopped, asked), return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        raise typer.Exit(NOT_DONE)  # it ended by itself, and its log says why
    if keeping is not None:
        keeping.cancel()
    await _ended(serving.stop(), settings.shutdown_grace_seconds + _ENDING_SECONDS)
    stopped.cancel()


def _hang_up() -> list[signal.Signals]:
    """Return the signal that a closed terminal sends, unless nohup has it ignored."""
    return [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]


async def _ended(ending: Coroutine[Any, Any, None], seconds: float) -> None:
    """Let the server end in order, but wait no longer than so many *seconds* for it."""
    going = asyncio.ensure_future(ending)
    await asyncio.wait((going,), timeout=seconds)
    if not going.done():
        log.warning("the database keeps the server from ending in order: it ends at once")
        # threads wait for the database; whatever they have not told to be done is rolled back there, or asked for again
        os._exit(0)
    await going


async def _started(starting: asyncio.Future[Any], stop: asyncio.Event, grace_seconds: float) -> Any:
    """Return what has been started; told to stop meanwhile, wait no longer than *grace_seconds*."""
    asked = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await asyncio.wait((starting,), timeout=grace_seconds)
    if not starting.done():
        log.warning("told to stop while it starts, which takes too long: the server ends at once")
        # a thread waits for the database, and nothing else would end it; what it has begun is rolled back there
        os._exit(0)
    asked.cancel()
    return await starting


def _warn(text: str) -> None:
    error_console().print(Text.assemble(("warning", "bold yellow"), f" {text}"))


def _announce(output: Output, address: str, database: str, is_dev: bool) -> None:
    facts = {"version": __version__, "address": address, "database": database}
    if not is_dev:
        output.record(facts, f"Tradewind {__version__} serves gRPC on {address}, database {database}")
        return
    lines = [
        f"Tradewind {__version__}, for development",
        "",
        f"  gRPC      {address}",
        f"  database  {database}",
        "",
        "Next, in another terminal:",
        "",
        *(() if address == Settings().listen else (f"  export {variable('address')}={address}",)),
        "  tradewind deploy FILE.yaml",
        "  tradewind start WORKFLOW --input '{}'",
        "  tradewind watch ID",
        "",
        "Ctrl-C stops it; what runs goes on at the next start.",
    ]
    output.record(facts, "\n".join(lines))

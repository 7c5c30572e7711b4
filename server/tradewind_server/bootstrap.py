"""The composition root: the one module that knows every room."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
from collections.abc import Mapping
from os.path import isdir, isfile
from stat import S_IROTH, S_IWOTH
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from tradewind.v1 import (
    action_callback_pb2_grpc,
    action_limit_service_pb2_grpc,
    definition_service_pb2_grpc,
    environment_service_pb2_grpc,
    execution_service_pb2_grpc,
    human_task_service_pb2_grpc,
    notification_service_pb2_grpc,
    retention_service_pb2_grpc,
    server_service_pb2_grpc,
    subscription_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from tradewind_server.actions.catalogue import all_actions, signatures
from tradewind_server.actions.egress import EgressPolicy
from tradewind_server.actions.notification_channels import read_channels
from tradewind_server.actions.notification_contacts import Contacts
from tradewind_server.actions.notification_sender import NotificationSender
from tradewind_server.actions.notifications import Notifications
from tradewind_server.actions.outside import Outside
from tradewind_server.actions.webhook_sender import WebhookSender
from tradewind_server.actions.webhooks import Webhooks
from tradewind_server.actions.worker import BuiltInWorker
from tradewind_server.api.access import Access, Proxy
from tradewind_server.api.action_limits import ActionLimits
from tradewind_server.api.callback import Callback
from tradewind_server.api.definitions import Definitions
from tradewind_server.api.environments import Environments
from tradewind_server.api.executions import Executions
from tradewind_server.api.human_tasks import HumanTasks
from tradewind_server.api.info import ServerInfo
from tradewind_server.api.methods import Methods
from tradewind_server.api.metrics import PATH, Metrics
from tradewind_server.api.notifications import Notifications as Outbox
from tradewind_server.api.pages import Pages
from tradewind_server.api.retention import Retention
from tradewind_server.api.subscriptions import Subscriptions
from tradewind_server.api.tls import Certificates, UnusableTls
from tradewind_server.api.tokens import Tokens, UnusableTokens
from tradewind_server.api.workers import Workers
from tradewind_server.clock import SystemClock
from tradewind_server.engine.calendars import Calendar
from tradewind_server.ids import SystemIds
from tradewind_server.lang.configuration import Unusable
from tradewind_server.runtime.calendars import read_calendars
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.tokens import Signer
from tradewind_server.settings import Settings
from tradewind_server.store.database import Database
from tradewind_server.store.definitions import Registry

log = logging.getLogger(__name__)

#: A secret of fewer bytes can be guessed.
_LEAST_SECRET = 16
_LARGEST_PORT = 65535
#: Who connects and says nothing has a file descriptor for so long; gRPC's own default is two minutes.
_HANDSHAKE_SECONDS = 10.0
#: gRPC takes twice as much as a whole number of 32 bits.
_MOST_PENDING = 2**30 - 1


class Unbindable(Exception):
    """The server may not, or cannot, listen where it was told to; the text says what to do."""


class Server:
    """One running server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = asyncio.Event()
        #: References, or the tasks could be collected before they are done.
        self._telling: set[asyncio.Task[None]] = set()
        self._cleanup = contextlib.AsyncExitStack()
        #: Where it listens, host:port or unix:path.
        self.address = ""
        #: Where its metrics are, as a URL, or "".
        self.metrics = ""
        #: What an operator should know.
        self.warnings: list[str] = []

    @classmethod
    async def start(cls, settings: Settings) -> Server:
        """Open the database, apply migrations, take up open work and listen.

        Raises:
            Unbindable: the address is refused or taken.
            DatabaseInUse: another server holds the SQLite file.
            UnusableDatabase: it cannot be opened.
        """
        server = cls(settings)
        try:
            await server._start()
        except BaseException:
            await server._cleanup.aclose()
            raise
        return server

    async def _start(self) -> None:
        settings = self._settings
        _check_address(settings.listen)
        certificates = _certificates(settings, self.warnings)
        _check_metrics(settings, self.warnings)
        tokens, proxy_secret = _tokens(settings, self.warnings), _proxy_secret(settings)
        self.warnings += [*_open_to_all(settings), *_doubts(settings)]
        ids = SystemIds()
        database = await asyncio.to_thread(Database, settings.database)
        self._cleanup.callback(database.close)
        open_world = settings.unknown_actions == "wait"
        secret = await asyncio.to_thread(database.installation_value, "secret", ids.opaque())
        registry = Registry(signatures(), open_world, settings, _calendars(settings), f"etags {secret}".encode())
        self.runtime = Runtime(database, registry, settings, SystemClock(), ids, Signer(secret))
        await self.runtime.start()
        self._cleanup.push_async_callback(self.runtime.stop)
        outside = Outside(settings, self.runtime.clock, ids)
        self._cleanup.push_async_callback(outside.close)
        worker = BuiltInWorker(self.runtime, all_actions(outside.runs, outside.posts))
        worker.start()
        self._cleanup.push_async_callback(worker.stop)
        policy = EgressPolicy(settings.allow_private_addresses)
        webhooks = Webhooks(self.runtime, WebhookSender(policy, self.runtime.secrets, self.runtime.clock))
        webhooks.start()
        self._cleanup.push_async_callback(webhooks.stop)
        notifications = await self._notify(ids)
        proxy = Proxy(proxy_secret, self.runtime.clock) if proxy_secret else None
        access = Access(tokens.identity if tokens else None, proxy, self.runtime.clock)
        methods = Methods(ids, access, self.runtime.meters)
        self._health = health.aio.HealthServicer()
        await self._add_services(methods, Pages(secret), notifications)
        self._grpc = _grpc_server(settings, methods)
        self._listen(certificates)
        await self._serve_metrics(certificates)
        await self._grpc.start()

    async def _notify(self, ids: SystemIds) -> Notifications:
        """Begin to send notifications."""
        settings, runtime = self._settings, self.runtime
        try:
            setup, contacts = read_channels(settings.channels_file), Contacts(settings.contacts_file)
        except Unusable as problem:
            raise Unbindable(str(problem)) from None
        sender = NotificationSender(settings.allow_private_addresses, runtime.secrets, runtime.clock, ids)
        notifications = Notifications(runtime, sender, setup, contacts)
        notifications.start()
        self._cleanup.push_async_callback(notifications.stop)
        return notifications

    async def _add_services(self, methods: Methods, pages: Pages, notifications: Notifications) -> None:
        runtime = self.runtime
        server: Any = methods  # to generated code it is one
        definition_service_pb2_grpc.add_DefinitionServiceServicer_to_server(Definitions(runtime, pages), server)
        execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(Executions(runtime, pages), server)
        environment_service_pb2_grpc.add_EnvironmentServiceServicer_to_server(Environments(runtime, pages), server)
        subscription_service_pb2_grpc.add_SubscriptionServiceServicer_to_server(Subscriptions(runtime, pages), server)
        human_task_service_pb2_grpc.add_HumanTaskServiceServicer_to_server(HumanTasks(runtime, pages), server)
        action_callback_pb2_grpc.add_ActionCallbackServicer_to_server(Callback(runtime), server)
        notification_service_pb2_grpc.add_NotificationServiceServicer_to_server(
            Outbox(runtime, pages, notifications.try_channel), server
        )
        retention_service_pb2_grpc.add_RetentionServiceServicer_to_server(Retention(runtime), server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(Workers(runtime, pages), server)
        action_limit_service_pb2_grpc.add_ActionLimitServiceServicer_to_server(ActionLimits(runtime), server)
        server_service_pb2_grpc.add_ServerServiceServicer_to_server(ServerInfo(runtime), server)
        names = methods.services
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection:
            told = reflection.aio.ReflectionServicer([*names, health.SERVICE_NAME, reflection.SERVICE_NAME])
            add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
            add_reflection(told, server)
        self._names = ("", *names)
        await self._say_health(is_fit=True)
        runtime.on_health = self._tell_health

    def _tell_health(self, is_fit: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._say_health(is_fit=is_fit))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _say_health(self, *, is_fit: bool) -> None:
        word = health_pb2.HealthCheckResponse.SERVING if is_fit else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, word)

    def _listen(self, certificates: Certificates | None) -> None:
        listen = self._settings.listen
        host, _, _ = listen.rpartition(":")
        try:
            if certificates is None:
                port = self._grpc.add_insecure_port(listen)
            else:
                port = self._grpc.add_secure_port(listen, certificates.credentials())
        except RuntimeError:
            port = 0
        if not port:
            raise Unbindable(f"Expected to listen on {listen}, but it is taken or no address of this machine.")
        self.address = listen if listen.startswith("unix:") else f"{host}:{port}"

    async def _serve_metrics(self, certificates: Certificates | None) -> None:
        listen = self._settings.metrics_listen
        if not listen:
            return
        host, _, port = listen.rpartition(":")
        metrics = Metrics(self.runtime)
        tls = certificates.context() if certificates else None
        try:
            found = await metrics.start(host.strip("[]"), int(port), tls)
        except OSError as error:
            raise Unbindable(f"Expected to serve metrics on {listen}, but {error.strerror or error}.") from None
        self._cleanup.push_async_callback(metrics.stop)
        self.metrics = f"{'https' if tls else 'http'}://{host}:{found}{PATH}"

    async def wait_stopped(self) -> None:
        """Wait until `stop` has been called and is done."""
        await self._stopped.wait()

    async def stop(self) -> None:
        """Go down in order: say so, end the streams, finish what is queued, close."""
        await self._health.enter_graceful_shutdown()
        self.runtime.drain()
        await self._grpc.stop(self._settings.shutdown_grace_seconds)
        await self._cleanup.aclose()
        self._stopped.set()


def _grpc_server(settings: Settings, methods: Methods) -> Any:
    # Above this gRPC cancels calls without a word; ours are refused with QUEUE_FULL and a reason. It counts all methods
    # together, also those that put nothing into our queue.
    most_pending = min(settings.queue_commands * methods.count, _MOST_PENDING)
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # clients ping every 30 s
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server_handshake_timeout_ms", int(_HANDSHAKE_SECONDS * 1000)),
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", most_pending),
        ("grpc.server.max_pending_requests_hard_limit", 2 * most_pending),
    ]
    return grpc.aio.server(handlers=[methods], options=options)


def _check_address(listen: str) -> None:
    """Refuse what is no address; gRPC would take another port than one that is too large.

    Raises:
        Unbindable: it is none.
    """
    _, colon, port = listen.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= _LARGEST_PORT
    if not listen.startswith("unix:") and not (colon and is_port):
        raise Unbindable(f"Expected host:port to listen on, such as 127.0.0.1:7233, but got '{listen}'.")


def _certificates(settings: Settings, warnings: list[str]) -> Certificates | None:
    """Return the certificates of TLS; None to serve without, where that is safe or was asked for.

    Raises:
        Unbindable: it is neither, or their files cannot be used.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate and key:
        try:
            return Certificates(certificate, key, settings.tls_client_ca)
        except UnusableTls as problem:
            raise Unbindable(str(problem)) from None
    if certificate or key:
        missing = "tls_key" if certificate else "tls_certificate"
        raise Unbindable(f"Expected tls_certificate and tls_key, one with the other, but {missing} is not set.")
    if settings.tls_client_ca:
        raise Unbindable("Expected TLS, since tls_client_ca asks for certificates. Set tls_certificate and tls_key.")
    if is_loopback(settings.listen):
        return None
    if not settings.insecure:
        raise Unbindable(
            f"Expected TLS to listen on {settings.listen}, which others can reach. Set tls_certificate and tls_key, "
            "listen on 127.0.0.1, or say --insecure to go without."
        )
    warnings.append(f"Listening on {settings.listen} without TLS: everybody who reaches it can read and steer all.")
    return None


def _check_metrics(settings: Settings, warnings: list[str]) -> None:
    """See that metrics may be served at their address: with the TLS of the calls, or without, where that is safe.

    Raises:
        Unbindable: they may not, or the address is none.
    """
    listen = settings.metrics_listen
    if not listen:
        return
    if listen.startswith("unix:"):
        raise Unbindable(f"Expected host:port to serve metrics on, such as 127.0.0.1:9464, but got '{listen}'.")
    _check_address(listen)
    if settings.tls_certificate or is_loopback(listen):
        return
    if not settings.insecure:
        raise Unbindable(
            f"Expected TLS to serve metrics on {listen}, which others can reach. Set tls_certificate and tls_key, "
            "use 127.0.0.1, or say --insecure to go without."
        )
    warnings.append(f"Metrics on {listen} are without TLS: everybody who reaches it reads names and numbers.")


def _tokens(settings: Settings, warnings: list[str]) -> Tokens | None:
    """Return the tokens that callers must have, or None if they need none.

    Raises:
        Unbindable: their file cannot be used.
    """
    if not settings.tokens_file:
        return None
    if not settings.tls_certificate and not is_loopback(settings.listen):
        warnings.append(f"Tokens are sent to {settings.listen} without TLS: whoever listens on the way has them.")
    try:
        return Tokens(settings.tokens_file)
    except UnusableTokens as problem:
        raise Unbindable(str(problem)) from None


def _calendars(settings: Settings) -> Mapping[str, Calendar]:
    """Return the calendars of the server.

    Raises:
        Unbindable: their file cannot be used.
    """
    try:
        return read_calendars(settings.calendars_file)
    except Unusable as problem:
        raise Unbindable(str(problem)) from None


def _proxy_secret(settings: Settings) -> bytes:
    """Return the secret that is shared with the proxy, empty if there is none.

    Raises:
        Unbindable: its file cannot be used.
    """
    if not settings.proxy_secret_file:
        return b""
    try:
        with open(settings.proxy_secret_file, "rb") as file:
            secret = file.read().strip()
    except OSError as error:
        raise Unbindable(f"Expected to read proxy_secret_file, but {error}.") from None
    if len(secret) < _LEAST_SECRET:
        raise Unbindable(f"Expected a secret of at least {_LEAST_SECRET} bytes in '{settings.proxy_secret_file}'.")
    return secret


def _open_to_all(settings: Settings) -> list[str]:
    """Return which files of the server anybody on its machine can read, or change, who should not."""
    secret = {"tls_key": settings.tls_key, "proxy_secret_file": settings.proxy_secret_file}
    trusted = {
        "tls_certificate": settings.tls_certificate,
        "tls_client_ca": settings.tls_client_ca,
        "tokens_file": settings.tokens_file,
    }
    return [
        f"{name} names '{path}', which everybody on this machine can {verb}: take that right away."
        for files, right, verb in ((secret, S_IROTH, "read"), (trusted, S_IWOTH, "change"))
        for name, path in files.items()
        if path and isfile(path) and os.stat(path).st_mode & right
    ]


def _doubts(settings: Settings) -> list[str]:
    """Return what built-in actions will miss, or what they may do that is unwise."""
    places = {"secrets_dir": settings.secrets_dir, "files_dir": settings.files_dir}
    found = [
        f"{name} names '{path}', which is no directory." for name, path in places.items() if path and not isdir(path)
    ]
    if settings.known_hosts and not isfile(settings.known_hosts):
        found.append(f"known_hosts names '{settings.known_hosts}', which is no file: std.ssh will fail.")
    if settings.insecure_hosts:
        found.append("insecure_hosts is set: std.ssh sends passwords to whoever answers at a host's address.")
    if bool(settings.channels_file) != bool(settings.contacts_file):
        found.append("channels_file and contacts_file are of use together only: nobody is notified.")
    if settings.unknown_actions == "fail":
        found.append("unknown_actions is 'fail': every action for a worker fails, also one that a worker serves.")
    if settings.callback_url and not settings.callback_url.lower().startswith(("http://", "https://")):
        found.append(f"callback_url is '{settings.callback_url}', which is no URL of http: call-backs reach nobody.")
    sizes = {"max_payload_bytes": settings.max_payload_bytes, "max_attachment_bytes": settings.max_attachment_bytes}
    found += [
        f"{name} is {size}, for which max_message_bytes, {settings.max_message_bytes}, leaves no room: gRPC refuses it."
        for name, size in sizes.items()
        if size >= settings.max_message_bytes
    ]
    return found


def is_loopback(listen: str) -> bool:
    """Tell whether only this machine can reach the address."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

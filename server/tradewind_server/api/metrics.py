"""The page of metrics that Prometheus reads: what this server has done, and what the database knows is open.

Names of namespaces, workflows and actions stand on it, and no data of any execution. docs/operating.md says what each
metric tells, and a test holds the two equal.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from tradewind_server import __version__
from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.on_demand import OnDemand, loaded
from tradewind_server.runtime.meters import BOUNDS, Calls, Histogram
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import figures
from tradewind_server.store.figures import Figures

if TYPE_CHECKING:
    import prometheus_client as prometheus
    from aiohttp import http_exceptions, web
    from prometheus_client import exposition
    from prometheus_client import metrics_core as families
    from prometheus_client.metrics_core import Metric
else:
    web = OnDemand("aiohttp.web")
    http_exceptions = OnDemand("aiohttp.http_exceptions")
    prometheus = OnDemand("prometheus_client")
    exposition = OnDemand("prometheus_client.exposition")
    families = OnDemand("prometheus_client.metrics_core")

log = logging.getLogger(__name__)
#: The values of a metric's labels.
K = TypeVar("K", bound=tuple[str, ...])
Counted = TypeVar("Counted", "families.GaugeMetricFamily", "families.CounterMetricFamily")

#: The database is asked at most once in as many seconds, however many scrape.
_FRESH_SECONDS = 5.0
#: Prometheus keeps one, and so does whoever says nothing.
_MOST_CONNECTIONS = 50
_HANDSHAKE_SECONDS = 10.0
#: How long an answer that is on its way may take when the server stops.
_STOP_SECONDS = 0.1
PATH = "/metrics"
_BOUNDS = (*map(str, BOUNDS), "+Inf")


def _is_fault(record: logging.LogRecord) -> bool:
    """Tell whether it is of a fault of ours; what somebody sends that is no request is answered, and none."""
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, http_exceptions.HttpProcessingError)


class Metrics:
    """Serves the page."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._figures: Figures | None = None
        self._asked_at = -_FRESH_SECONDS
        self._asking = asyncio.Lock()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen, and return the port.

        Raises:
            OSError: it cannot be listened there.
        """
        for module in (web, prometheus, exposition, families):
            await loaded(module)
        log.addFilter(_is_fault)
        self._web = web.Server(self._answer, access_log=None, logger=log)
        patience = _HANDSHAKE_SECONDS if tls else None
        self._server = await asyncio.get_running_loop().create_server(
            self._connected, host, port, ssl=tls, ssl_handshake_timeout=patience
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        self._server.close()
        for connection in self._web.connections:
            connection.force_close()
        # of 0 aiohttp thinks that there is no bound
        await self._web.shutdown(_STOP_SECONDS)

    def _connected(self) -> web.RequestHandler:
        """Take a connection in; of too many the oldest has to go, which may be one that says nothing."""
        connections = self._web.connections
        # all that are too many: of several that come at once each sees only those before them
        for connection in connections[: max(0, len(connections) - _MOST_CONNECTIONS + 1)]:
            connection.force_close()
        return self._web()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path != PATH:
            return web.Response(status=HTTPStatus.NOT_FOUND, text=f"The page is {PATH}.\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        write, kind = exposition.choose_encoder(request.headers.get("Accept", ""))
        page = _Page(self._runtime, await self._fresh_figures())
        # it takes some milliseconds, in which the event loop does other things
        body = await asyncio.to_thread(write, page)
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _fresh_figures(self) -> Figures | None:
        """Return what the database knows, or None if it does not answer."""
        async with self._asking:
            now = self._runtime.clock.monotonic()
            if now - self._asked_at >= _FRESH_SECONDS:
                moment = self._runtime.clock.microseconds()
                try:
                    self._figures = await self._runtime.read(lambda connection, _: figures.read(connection, moment))
                except DatabaseUnavailable:
                    self._figures = None
                self._asked_at = now
            return self._figures


class _Page:
    """All metrics of one moment, as a collector of Prometheus' library."""

    def __init__(self, runtime: Runtime, found: Figures | None) -> None:
        self._runtime = runtime
        self._figures = found

    def collect(self) -> Iterator[Metric]:
        """Give each of them."""
        yield from self._server()
        yield from self._calls()
        yield from self._work()
        if self._figures is not None:
            yield from _open(self._figures)
        yield from prometheus.ProcessCollector(registry=None).collect()

    def _server(self) -> Iterator[Metric]:
        runtime = self._runtime
        serves = runtime.is_fit and not runtime.is_draining
        info = {(__version__, runtime.database.name): 1}
        yield _gauge("tradewind_build_info", "Always 1.", info, "version", "database")
        yield _gauge("tradewind_serving", "1 if the server takes calls, as its health service says.", {(): serves})
        text = "1 if the database answered the questions for this page."
        yield _gauge("tradewind_database_up", text, {(): self._figures is not None})
        text = "Connections for writing that were given up since the server began."
        yield _counter("tradewind_database_losses", text, {(): runtime.database.losses})
        yield _gauge("tradewind_queue_requests", "Requests that wait for a transaction.", {(): runtime.queue_length})
        yield _gauge("tradewind_watch_streams", "Streams of watchers that are open.", {(): runtime.streams.count})
        connected = {(namespace,): count for namespace, count in runtime.desk.connected().items()}
        yield _gauge("tradewind_worker_sessions", "Workers that are connected here.", connected, "namespace")

    def _calls(self) -> Iterator[Metric]:
        """Count the calls, by the names that libraries of gRPC have for this."""
        of = ("grpc_type", "grpc_service", "grpc_method")
        calls = {_method(each): each for each in self._runtime.meters.calls if each.started}
        yield _counter("grpc_server_started", "Calls begun.", {key: c.started for key, c in calls.items()}, *of)
        ended = {(*key, code): count for key, c in calls.items() for code, count in list(c.ended.items())}
        yield _counter("grpc_server_handled", "Calls ended, by gRPC code.", ended, *of, "grpc_code")
        took = {key: c.seconds for key, c in calls.items() if c.kind == "unary"}
        yield _histogram("grpc_server_handling_seconds", "How long unary calls took.", took, *of)

    def _work(self) -> Iterator[Metric]:
        runtime, meters = self._runtime, self._runtime.meters
        yield _counter("tradewind_commands", "Requests that were decided.", {(): runtime.commands})
        text = "How long transactions took, from their first decision until they were committed."
        yield _histogram("tradewind_commit_seconds", text, {(): meters.commits})
        events = {(type_,): count for type_, count in list(meters.events.items())}
        yield _counter("tradewind_events", "Events that were committed, by type.", events, "type")
        ended = dict(list(meters.ended.items()))
        labels = ("namespace", "workflow", "state")
        yield _counter("tradewind_executions_ended", "Executions that ended.", ended, *labels)


def _open(found: Figures) -> Iterator[Metric]:
    text = "Executions that have not ended."
    yield _gauge("tradewind_open_executions", text, found.executions, "namespace", "state")
    counts = {key: count for key, (count, _) in found.queued.items()}
    text = "Actions that wait for a worker."
    yield _gauge("tradewind_queued_actions", text, counts, "namespace", "action")
    oldest = {key: seconds for key, (_, seconds) in found.queued.items()}
    text = "How long the oldest of them has waited."
    yield _gauge("tradewind_queued_actions_oldest_seconds", text, oldest, "namespace", "action")
    text = "Notifications to be sent (PENDING), or given up (DEAD)."
    yield _gauge("tradewind_notifications", text, found.notifications, "namespace", "state")
    text = "Executions of which a webhook could not be told."
    yield _gauge("tradewind_dead_letters", text, found.dead_letters, "namespace", "subscription")
    text = "For how long the oldest timer is due."
    yield _gauge("tradewind_timer_lag_seconds", text, {(): found.timer_lag_seconds})


def _method(calls: Calls) -> tuple[str, str, str]:
    _, service, method = calls.method.split("/")
    return calls.kind, service, method


def _gauge(name: str, text: str, values: Mapping[K, float], *labels: str) -> Metric:
    return _filled(families.GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, values: Mapping[K, float], *labels: str) -> Metric:
    return _filled(families.CounterMetricFamily(name, text, labels=labels), values)


def _filled(metric: Counted, values: Mapping[K, float]) -> Counted:
    for of, value in values.items():
        metric.add_metric(of, value)
    return metric


def _histogram(name: str, text: str, values: Mapping[K, Histogram], *labels: str) -> Metric:
    metric = families.HistogramMetricFamily(name, text, labels=labels)
    for of, value in values.items():
        totals = itertools.accumulate(list(value.counts))
        metric.add_metric(of, [*zip(_BOUNDS, totals, strict=True)], value.sum_seconds)
    return metric

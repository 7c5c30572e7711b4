"""What Prometheus reads of a server."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from tests.api.harness import PATIENCE, refused, running, serving
from tests.certificates import Authority
from tradewind.v1 import action_callback_pb2, execution_service_pb2
from tradewind_server.api.metrics import _Page
from tradewind_server.bootstrap import Server, Unbindable
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.meters import BOUNDS
from tradewind_server.settings import Settings
from tradewind_server.testing.ports import free_port

ROOT = Path(__file__).parents[2]
LOCAL = "127.0.0.1:0"
MORE = """
version: '2.0'
fails:
  tasks:
    t: {action: std.fail}
waits:
  tasks:
    t: {action: std.async_noop}
"""


def fetched(url: str, accept: str = "", context: ssl.SSLContext | None = None) -> tuple[str, str]:
    """Return kind and text of the page."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as response:
        return response.headers["Content-Type"], response.read().decode()


class Scraped(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels."""

    def of(self, name: str, **labels: str) -> float:
        """Return one; 0 if it is not there."""
        return self.get((name, frozenset(labels.items())), 0.0)


async def scraped(server: Server) -> Scraped:
    """Read the page."""
    _, text = await asyncio.to_thread(fetched, server.metrics)
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples]
    return Scraped({(s.name, frozenset(s.labels.items())): s.value for s in found})


async def test_page_counts_what_a_server_has_done_and_what_is_open(database_url: str) -> None:
    """Calls by gRPC code, executions by their end, and what waits for whom."""
    async with serving(database_url, metrics_listen=LOCAL) as served:
        # given
        await served.deploy(MORE)
        first = await served.start()
        [offer] = await served.poll()
        await served.complete(offer.token, 1)
        await served.ended(first)
        await served.ended(await served.start("fails", {}))
        await served.start("waits", {})
        await served.start()
        with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
            await served.get("00000000-0000-7000-8000-000000000000")

        # when
        async with served.worker("shop.other"):
            found = await scraped(served.server)

    # then
    assert found.of("tradewind_worker_sessions", namespace="default") == 1
    here = {"namespace": "default"}
    assert found.of("tradewind_executions_ended_total", **here, workflow="one", state="SUCCEEDED") == 1
    assert found.of("tradewind_executions_ended_total", **here, workflow="fails", state="FAILED") == 1
    assert found.of("tradewind_open_executions", **here, state="RUNNING") == 2
    assert found.of("tradewind_open_executions", **here, state="PAUSED") == 0
    assert found.of("tradewind_queued_actions", **here, action="shop.do") == 1
    assert 0 < found.of("tradewind_queued_actions_oldest_seconds", **here, action="shop.do") < PATIENCE
    assert found.of("tradewind_events_total", type="ExecutionStarted") == 4
    assert found.of("tradewind_events_total", type="ActionFailed") == 1
    assert (found.of("tradewind_serving"), found.of("tradewind_database_up")) == (1, 1)
    method = {"grpc_type": "unary", "grpc_service": "tradewind.v1.ExecutionService"}
    started = {**method, "grpc_method": "StartExecution"}
    assert found.of("grpc_server_started_total", **started) == 4
    assert found.of("grpc_server_handled_total", **started, grpc_code="OK") == 4
    assert found.of("grpc_server_handling_seconds_count", **started) == 4
    assert 0 < found.of("grpc_server_handling_seconds_sum", **started) < 4 * PATIENCE
    got = {**method, "grpc_method": "GetExecution"}
    assert found.of("grpc_server_handled_total", **got, grpc_code="NOT_FOUND") == 1
    # a bucket has all that took no longer
    buckets = [found.of("tradewind_commit_seconds_bucket", le=str(bound)) for bound in (*BOUNDS, "+Inf")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found.of("tradewind_commit_seconds_count") > 4
    assert found.of("process_resident_memory_bytes") > 0


def promised() -> dict[str, tuple[bool, set[str]]]:
    """Return what docs/operating.md has: by metric whether it has the mark of the database's, and its labels."""
    chapter = (ROOT / "docs" / "operating.md").read_text().partition("## What to watch")[2]
    rows = re.findall(r"^\| `((?:tradewind|grpc)_\w+)`( \*)? \|([^|]*)\|", chapter, re.MULTILINE)
    return {name: (bool(mark), set(re.findall(r"`(\w+)`", cell))) for name, mark, cell in rows}


def full_name(family: Metric) -> str:
    """Return the name as it stands on the page."""
    return f"{family.name}_total" if family.type == "counter" else family.name


async def test_page_and_docs_have_the_same_metrics(database_url: str) -> None:
    """With the same labels, and a mark on what is missing without a database."""
    async with serving(database_url, metrics_listen=LOCAL) as served:
        await served.start()
        _, text = await asyncio.to_thread(fetched, served.server.metrics)
        without = set(map(full_name, _Page(served.server.runtime, None).collect()))
    page = [f for f in text_string_to_metric_families(text) if not f.name.startswith("process_")]
    samples = [(full_name(family), sample.labels.keys() - {"le"}) for family in page for sample in family.samples]

    assert promised().keys() == set(map(full_name, page))
    assert {name for name, (is_marked, _) in promised().items() if is_marked} == promised().keys() - without
    assert [(name, labels) for name, labels in samples if labels != promised()[name][1]] == []


async def test_stream_is_counted_when_it_begins_and_when_it_ends() -> None:
    """Whoever goes away in its midst has cancelled it; how long it took is not told."""
    method = {"grpc_service": "tradewind.v1.ExecutionService", "grpc_method": "WatchExecution"}
    stream = {**method, "grpc_type": "server_stream"}
    async with serving("", metrics_listen=LOCAL) as served:
        id_ = await served.start()
        watch = served.watch(id_)
        await watch.read()
        during = await scraped(served.server)
        watch.cancel()
        ended = served.server.runtime.meters
        calls = next(calls for calls in ended.calls if calls.method.endswith("/WatchExecution"))
        async with asyncio.timeout(PATIENCE):
            while not calls.ended:
                await asyncio.sleep(0)
        after = await scraped(served.server)

    assert (during.of("grpc_server_started_total", **stream), during.of("tradewind_watch_streams")) == (1, 1)
    assert after.of("grpc_server_handled_total", **stream, grpc_code="CANCELLED") == 1
    assert (after.of("grpc_server_handling_seconds_count", **stream), after.of("tradewind_watch_streams")) == (0, 0)


async def test_page_is_there_while_the_database_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is when somebody looks at it."""
    async with serving("", metrics_listen=LOCAL) as served:

        def gone(*_: object) -> Any:
            raise OperationalError("SELECT 1", None, ConnectionRefusedError("refused"))

        monkeypatch.setattr(served.server.runtime.database, "reading", gone)
        found = await scraped(served.server)

    assert found.of("tradewind_database_up") == 0
    assert found.of("tradewind_commands_total") > 0
    assert not any(name == "tradewind_open_executions" for name, _ in found)


async def test_database_is_asked_once_by_many_who_scrape_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Prometheus servers, and somebody with a browser, cost no more than one."""
    async with serving("", metrics_listen=LOCAL) as served:
        read, asked = served.server.runtime.read, []

        async def noted(query: Any) -> Any:
            asked.append(query)
            return await read(query)

        # what the server itself does every second or two asks, too
        monkeypatch.setattr(served.server.runtime, "read", noted)
        await asyncio.gather(*(scraped(served.server) for _ in range(5)))
        questions = [query for query in asked if "metrics" in query.__module__]

    assert len(questions) == 1


async def test_page_is_openmetrics_for_whoever_asks_for_that() -> None:
    """As newer versions of Prometheus do."""
    async with serving("", metrics_listen=LOCAL) as served:
        kind, text = await asyncio.to_thread(fetched, served.server.metrics, "application/openmetrics-text")
        plain, _ = await asyncio.to_thread(fetched, served.server.metrics)

    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert plain.startswith("text/plain")


async def test_nothing_but_the_page_is_served() -> None:
    """It is no door to anything else."""
    async with serving("", metrics_listen=LOCAL) as served:
        for path, data in (("/", None), ("/metrics", b"x"), ("/metrics/..", None)):
            url = served.server.metrics.removesuffix("/metrics") + path
            with pytest.raises(urllib.error.HTTPError) as caught:
                await asyncio.to_thread(urllib.request.urlopen, url, data, PATIENCE)
            assert caught.value.code in (404, 405)
            caught.value.close()


async def test_grpc_client_at_the_wrong_port_is_no_fault_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It had a traceback written each time, with its bytes in it."""
    async with serving("", metrics_listen=LOCAL) as served:
        host, port = served.server.metrics.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(256)))
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert caplog.records == []


async def test_many_who_connect_and_say_nothing_are_in_nobodys_way() -> None:
    """The oldest of too many connections is closed, and Prometheus connects again."""
    async with serving("", metrics_listen=LOCAL) as served:
        host, port = served.server.metrics.split("/")[2].split(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(60)]
        await asyncio.wait_for(silent[0][0].read(), PATIENCE)
        found = await scraped(served.server)
        assert found.of("tradewind_serving") == 1
        for _, writer in silent:
            writer.close()


async def test_metrics_have_the_tls_of_the_calls(tmp_path: Path) -> None:
    """With a certificate of the client's where calls need one."""
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("server")
    settings = Settings(
        listen=LOCAL,
        database="",
        metrics_listen=LOCAL,
        tls_certificate=str(certificate),
        tls_key=str(key),
        tls_client_ca=str(authority.path),
    )
    server = await Server.start(settings)
    try:
        url = server.metrics.replace("127.0.0.1", "localhost")
        trusting = ssl.create_default_context(cafile=authority.path)
        trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
            await asyncio.to_thread(fetched, url, "", trusting)
        trusting.load_cert_chain(*authority.issue("prometheus"))
        _, text = await asyncio.to_thread(fetched, url, "", trusting)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            await asyncio.to_thread(fetched, url.replace("https", "http"))
    finally:
        await server.stop()
    assert url.startswith("https://")
    assert "tradewind_build_info{" in text


@pytest.mark.parametrize(
    ("listen", "text"),
    [
        ("0.0.0.0:0", "Expected TLS to serve metrics on 0.0.0.0:0"),
        ("nonsense", "Expected host:port to listen on"),
        ("unix:/tmp/x", "Expected host:port to serve metrics on"),
        ("127.0.0.1:99999", "Expected host:port to listen on"),
    ],
)
async def test_address_of_metrics_that_cannot_be_is_told(listen: str, text: str) -> None:
    """Before the server serves anybody."""
    with pytest.raises(Unbindable, match=text):
        await Server.start(Settings(listen=LOCAL, database="", metrics_listen=listen))


async def test_address_of_metrics_that_is_not_this_machines_is_told() -> None:
    """It is one of those that are for documents alone."""
    settings = Settings(listen=LOCAL, database="", metrics_listen="192.0.2.1:9464", insecure=True)
    with pytest.raises(Unbindable, match="Expected to serve metrics on 192.0.2.1:9464, but .*assign"):
        await Server.start(settings)


async def test_taken_port_of_metrics_is_told() -> None:
    """As that of another server on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unbindable, match=f"Expected to serve metrics on {listen}, but .*in use"):
            await Server.start(Settings(listen=LOCAL, database="", metrics_listen=listen))


async def test_metrics_for_all_without_tls_are_warned_of() -> None:
    """Whoever said --insecure has said that he knows."""
    async with running("", metrics_listen=f"0.0.0.0:{free_port()}", insecure=True) as served:
        [warning] = served.server.warnings
        found = await asyncio.to_thread(fetched, served.server.metrics.replace("0.0.0.0", "127.0.0.1"))
    assert warning.startswith("Metrics on 0.0.0.0:")
    assert "tradewind_serving 1.0" in found[1]


async def test_server_that_nobody_asked_for_metrics_serves_none() -> None:
    """No port is open that nobody knows of."""
    async with running("") as served:
        assert served.server.metrics == ""
        assert served.server.runtime.meters.calls
        request = execution_service_pb2.ListExecutionsRequest()
        await served.executions.ListExecutions(request)
    assert sum(calls.started for calls in served.server.runtime.meters.calls) == 1


async def test_server_stops_though_prometheus_keeps_its_connection() -> None:
    """It waited for whoever had one, and was killed in the end."""
    server = await Server.start(Settings(listen=LOCAL, database="", metrics_listen=LOCAL, shutdown_grace_seconds=0))
    host, port = server.metrics.split("/")[2].split(":")
    _, silent = await asyncio.open_connection(host, int(port))
    reader, kept = await asyncio.open_connection(host, int(port))
    kept.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"tradewind_serving 1.0"), PATIENCE)

    await asyncio.wait_for(server.stop(), PATIENCE)

    for writer in (silent, kept):
        writer.close()


async def test_connections_that_come_all_at_once_do_not_pile_up() -> None:
    """Each of them saw only those before, and closed the same one."""
    async with serving("", metrics_listen=LOCAL) as served:
        host, port = served.server.metrics.split("/")[2].split(":")
        opened = []
        for _ in range(4):
            opened += await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(90)))
        await scraped(served.server)
        ended = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in opened[:180])), PATIENCE)
        assert ended == [b""] * 180
        for _, writer in opened:
            writer.close()


async def test_call_that_health_itself_refuses_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """It was not, and each probe of a service that is none left a traceback."""
    method = {"grpc_service": "grpc.health.v1.Health", "grpc_method": "Check", "grpc_type": "unary"}
    async with serving("", metrics_listen=LOCAL) as served:
        stub: Any = health_pb2_grpc.HealthStub(served.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nope"))
        found = await scraped(served.server)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert found.of("grpc_server_handled_total", **method, grpc_code="NOT_FOUND") == 1
    assert caplog.records == []


async def test_action_that_is_to_wait_does_not_count_as_one_that_waits_for_a_worker(database_url: str) -> None:
    """Its worker gave it back until later: nobody is missing."""
    async with serving(database_url, metrics_listen=LOCAL) as served:
        await served.start()
        [offer] = await served.poll()
        release = action_callback_pb2.Release(token=offer.token, retry_after=Duration(seconds=3600))
        await served.callback.ReleaseActions(action_callback_pb2.ReleaseActionsRequest(releases=[release]))
        found = await scraped(served.server)
    assert found.of("tradewind_queued_actions", namespace="default", action="shop.do") == 0


async def test_worker_that_finishes_what_it_has_is_still_connected() -> None:
    """It only takes nothing new."""
    async with serving("", metrics_listen=LOCAL) as served, served.worker() as leaving:
        await leaving.send(drain=action_callback_pb2.Drain())
        await leaving.finish(b"no token")
        await leaving.receipt()  # so the drain has been read
        found = await scraped(served.server)
    assert found.of("tradewind_worker_sessions", namespace="default") == 1


async def test_stream_that_is_refused_is_counted_with_its_code() -> None:
    """As other calls are."""
    method = {"grpc_service": "tradewind.v1.ExecutionService", "grpc_method": "WatchExecution"}
    async with serving("", metrics_listen=LOCAL) as served:
        with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
            await served.watch("00000000-0000-7000-8000-000000000000").read()
        found = await scraped(served.server)
    assert found.of("grpc_server_handled_total", **method, grpc_type="server_stream", grpc_code="NOT_FOUND") == 1


async def test_execution_that_has_ended_is_counted_once_whatever_happens_to_it_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is said of its human tasks afterwards is an event, too."""
    noted: list[r.Announcement] = []
    async with serving("", metrics_listen=LOCAL) as served:
        await served.start()
        [offer] = await served.poll()
        monkeypatch.setattr(served.server.runtime.hub, "announce", noted.extend)
        await served.complete(offer.token, 1)
        monkeypatch.undo()
        [ended] = [each for each in noted if each.ended is not None]
        later = [event for event in ended.events if not event.type.startswith("Execution")]
        served.server.runtime.meters.note([], [msgspec.structs.replace(ended, events=later)])
        found = await scraped(served.server)
    assert found.of("tradewind_executions_ended_total", namespace="default", workflow="one", state="SUCCEEDED") == 1

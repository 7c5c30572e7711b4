"""std.http against a real server on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDictProxy

from tests.actions.conftest import Identity
from tradewind_server.actions.egress import Address, EgressPolicy
from tradewind_server.actions.files import Files
from tradewind_server.actions.http import MAX_RESPONSE_BYTES, HttpAction
from tradewind_server.actions.outcome import ActionError, Caller
from tradewind_server.lang.values import decode, encode

NO_FILES = Files("")


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    """Serve on all loopback addresses; give the port's part of the URL."""
    app = web.Application()
    app.router.add_route("*", "/echo", _echo)
    app.router.add_get("/money", _money)
    app.router.add_get("/status/{status}", _status)
    app.router.add_get("/stall", _stall)
    app.router.add_get("/big", _big)
    app.router.add_get("/to", _redirect)
    app.router.add_get("/odd", _odd)
    app.router.add_get("/charset/{charset}", _charset)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    yield str(runner.addresses[0][1])
    await runner.cleanup()


#: Of the requests to /echo.
HEADERS: list[CIMultiDictProxy[str]] = []


async def _echo(request: web.Request) -> web.Response:
    HEADERS.append(request.headers)
    said = {
        "method": request.method,
        "query": dict(request.query),
        "body": await request.text(),
        "type": request.headers.get("Content-Type"),
        "x": request.headers.get("X"),
        "auth": request.headers.get("Authorization"),
        "cookie": request.headers.get("Cookie"),
    }
    return web.json_response(said)


async def _money(_: web.Request) -> web.Response:
    return web.Response(body=b'{"sum": 1234.50, "n": 12345678901234567890}', content_type="text/plain")


async def _status(request: web.Request) -> web.Response:
    return web.json_response({"why": "so"}, status=int(request.match_info["status"]))


async def _stall(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


async def _big(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_compression()
    await response.prepare(request)
    for _ in range(MAX_RESPONSE_BYTES // 65536 + 1):
        await response.write(b"\0" * 65536)
    return response


async def _redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["url"])


async def _odd(_: web.Request) -> web.Response:
    response = web.Response(body="grüß dich".encode("latin-1"), headers={"Content-Type": "text/plain; charset=latin-1"})
    response.set_cookie("a", "1")
    response.headers.add("X-Many", "1")
    response.headers.add("X-Many", "2")
    return response


async def _charset(request: web.Request) -> web.Response:
    type_ = f"text/plain; charset={request.match_info['charset']}"
    return web.Response(body=rb"mnchen-3ya\u0041", headers={"Content-Type": type_})


@pytest.fixture
async def http() -> AsyncIterator[HttpAction]:
    action = HttpAction(EgressPolicy(True), NO_FILES)
    yield action
    await action.close()


@pytest.fixture
async def guarded() -> AsyncIterator[HttpAction]:
    action = HttpAction(EgressPolicy(False), NO_FILES)
    yield action
    await action.close()


async def _failure(action: HttpAction, **given: object) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await action.run(given)
    return caught.value


async def _content(action: HttpAction, **given: object) -> Any:
    result = await action.run(given)
    assert isinstance(result, dict)
    return result["content"]


async def test_http_keeps_the_digits_of_json(http: HttpAction, origin: str) -> None:
    """Cents and large integers arrive as they were written, whatever the content type says."""
    content = await _content(http, url=f"http://127.0.0.1:{origin}/money")

    assert content == {"sum": Decimal("1234.50"), "n": 12345678901234567890}
    assert str(content["sum"]) == "1234.50"


async def test_http_result_is_a_business_value(http: HttpAction, origin: str) -> None:
    """The whole result can be stored: no binary float in it, no lone surrogate."""
    url = f"http://127.0.0.1:{origin}/odd"
    result = await http.run({"url": url})

    assert isinstance(result, dict)
    assert decode(encode(result)) == result
    assert result.keys() == {
        "content", "status", "headers", "url", "history", "encoding", "reason", "cookies", "elapsed"
    }  # fmt: skip
    assert (result["content"], result["encoding"], result["cookies"]) == ("grüß dich", "latin-1", {"a": "1"})
    assert (result["status"], result["reason"], result["url"]) == (200, "OK", url)
    assert result["headers"]["X-Many"] == "1, 2"
    assert isinstance(result["elapsed"], Decimal)


@pytest.mark.parametrize("charset", ["punycode", "PUNYCODE", "idna", "unicode_escape", "undefined", "rot13", "x"])
async def test_http_receiver_cannot_choose_how_long_its_text_takes(http: HttpAction, origin: str, charset: str) -> None:
    """Python has codecs that are no charsets: of punycode 5 MiB took an hour, in which the server did nothing else."""
    content = await _content(http, url=f"http://127.0.0.1:{origin}/charset/{charset}")

    assert content == r"mnchen-3ya\u0041"


@pytest.mark.parametrize(
    ("given", "method", "type_", "body"),
    [
        ({}, "GET", None, ""),
        ({"method": "post", "body": "text"}, "POST", None, "text"),
        ({"method": "PUT", "body": {"a": Decimal("1.50")}}, "PUT", "application/json", '{"a":1.50}'),
        ({"method": "POST", "json": [1, None]}, "POST", "application/json", "[1,null]"),
        ({"form": {"a": "b c", "n": Decimal("1.50"), "l": ["x", "y"]}}, "POST",
         "application/x-www-form-urlencoded", "a=b+c&n=1.50&l=x&l=y"),
        ({"method": "POST", "body": {}, "headers": {"content-type": "application/x"}}, "POST", "application/x", "{}"),
    ],
)  # fmt: skip
async def test_http_body(
    http: HttpAction, origin: str, given: dict[str, object], method: str, type_: str | None, body: str
) -> None:
    """body, json and form, each with its content type."""
    said = await _content(http, url=f"http://127.0.0.1:{origin}/echo", **given)

    assert (said["method"], said["type"], said["body"]) == (method, type_, body)


async def test_http_query_headers_cookies_auth(http: HttpAction, origin: str) -> None:
    """All the rest that a request carries."""
    said = await _content(
        http,
        url=f"http://127.0.0.1:{origin}/echo?z=0",
        params={"a": "b&c", "n": 5, "yes": True, "none": None},
        headers={"X": 7},
        cookies={"k": "v"},
        auth="user:pass:word",
    )

    assert said["query"] == {"z": "0", "a": "b&c", "n": "5", "yes": "true"}
    assert (said["x"], said["cookie"], said["auth"]) == ("7", "k=v", "Basic dXNlcjpwYXNzOndvcmQ=")


@pytest.mark.parametrize("status", [404, 307, 500, 429])
async def test_http_other_status_fails_with_the_result(http: HttpAction, origin: str, status: int) -> None:
    """Outside 200 to 306 the action fails; the details are what the result would have been. It may be tried again."""
    error = await _failure(http, url=f"http://127.0.0.1:{origin}/status/{status}", allow_redirects=False)

    assert isinstance(error.details, dict)
    assert (error.details["status"], error.details["content"]) == (status, {"why": "so"})
    assert (error.code, error.retryable) == (f"HTTP_{status}", True)


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_http_good_status_succeeds(http: HttpAction, origin: str, status: int) -> None:
    """The same rule in the other direction."""
    assert await http.run({"url": f"http://127.0.0.1:{origin}/status/{status}"})


@pytest.mark.parametrize(
    "given",
    [
        {"url": "ftp://127.0.0.1/x"}, {"url": "file:///etc/passwd"}, {"url": "nowhere"}, {"url": 5}, {"url": "http://"},
        {"url": "http://[::1/"}, {"body": "a", "json": 1}, {"form": {}, "json": 1}, {"auth": "nobody"}, {"timeout": 0},
        {"timeout": "5"}, {"timeout": True}, {"verify": "/etc/passwd"}, {"headers": "x"},
        {"headers": {"X": "a\r\nY: b"}},
        {"method": "GET / HTTP/1.1\r\nX"}, {"params": 5}, {"allow_redirects": 1},
    ],
)  # fmt: skip
async def test_http_wrong_input_is_not_retried(http: HttpAction, origin: str, given: dict[str, object]) -> None:
    """Another attempt would fail alike."""
    error = await _failure(http, **{"url": f"http://127.0.0.1:{origin}/echo", **given})

    assert (error.code, error.retryable, error.details) == ("BAD_INPUT", False, None)


async def test_http_stalling_server_times_out(http: HttpAction, origin: str) -> None:
    """The timeout covers the reading of the body too."""
    error = await _failure(http, url=f"http://127.0.0.1:{origin}/stall", timeout=Decimal("0.05"))

    assert (error.code, error.retryable, error.message) == ("TIMEOUT", True, "No answer within 0.05 s.")


async def test_http_long_response_is_refused(http: HttpAction, origin: str) -> None:
    """5 MiB after decompression, so that a small answer cannot become a large one."""
    error = await _failure(http, url=f"http://127.0.0.1:{origin}/big")

    assert (error.code, error.retryable) == ("TOO_LARGE", False)


async def test_http_connection_refused_is_retryable(http: HttpAction) -> None:
    """Nobody listens: somebody may soon."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await _failure(http, url=f"http://127.0.0.1:{unused.getsockname()[1]}/")

    assert (error.code, error.retryable) == ("CONNECTION", True)


async def test_http_follows_redirects(http: HttpAction, origin: str) -> None:
    """The result is the last answer, the history tells the way."""
    first, last = f"http://127.0.0.1:{origin}/to?url=/money", f"http://127.0.0.1:{origin}/money"
    result = await http.run({"url": first})

    assert isinstance(result, dict)
    assert (result["url"], result["history"]) == (last, [{"url": first, "status": 302}])


async def test_http_redirect_can_be_left_alone(http: HttpAction, origin: str) -> None:
    """allow_redirects: false gives the redirect itself, which is no error up to 306."""
    result = await http.run({"url": f"http://127.0.0.1:{origin}/to?url=/money", "allow_redirects": False})

    assert isinstance(result, dict)
    assert result["status"] == 302


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f000001", "localhost", "[::ffff:127.0.0.1]"])
async def test_http_refuses_loopback_however_written(guarded: HttpAction, origin: str, host: str) -> None:
    """Hexadecimal and mapped forms end at the same address."""
    error = await _failure(guarded, url=f"http://{host}:{origin}/money")

    assert (error.code, error.retryable) == ("ADDRESS_REFUSED", False)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0"])
async def test_http_refuses_addresses_that_are_not_canonical(guarded: HttpAction, origin: str, host: str) -> None:
    """They do not even get as far as the policy."""
    error = await _failure(guarded, url=f"http://{host}:{origin}/money")

    assert error.code == "BAD_INPUT"


class _SecondIsPublic(EgressPolicy):
    """Takes 127.0.0.2 for a public address, so that a test has one that answers."""

    def allows(self, address: Address) -> bool:
        return address == ipaddress.ip_address("127.0.0.2") or super().allows(address)


class _Rebinding(AbstractResolver):
    """Answers with a public address first, with a private one ever after."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        address = "127.0.0.2" if self.asked == 1 else "127.0.0.1"
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing to close."""


async def test_http_redirect_to_a_private_address_is_refused(origin: str) -> None:
    """A public server cannot send the request to where the workflow could not send it."""
    action = HttpAction(_SecondIsPublic(False), NO_FILES)
    there = f"http://127.0.0.2:{origin}/to"

    assert await action.run({"url": f"{there}?url=http://127.0.0.2:{origin}/money"})
    error = await _failure(action, url=f"{there}?url=http://127.0.0.1:{origin}/money")

    assert error.code == "ADDRESS_REFUSED"
    await action.close()


async def test_http_redirect_to_another_scheme_is_refused(http: HttpAction, origin: str) -> None:
    """http and https, and nothing behind them."""
    error = await _failure(http, url=f"http://127.0.0.1:{origin}/to?url=file:///etc/passwd")

    assert (error.code, error.retryable) == ("BAD_INPUT", False)


async def test_http_judges_the_address_it_connects_to(origin: str) -> None:
    """A name whose answer changes is judged by each answer that is used, not by an earlier one."""
    resolver = _Rebinding()
    action = HttpAction(_SecondIsPublic(False), NO_FILES, resolver=resolver)
    url = f"http://rebinding.example:{origin}/money"

    assert await action.run({"url": url, "headers": {"Connection": "close"}})
    await action.close()
    action = HttpAction(_SecondIsPublic(False), NO_FILES, resolver=resolver)
    error = await _failure(action, url=url)

    assert (error.code, resolver.asked) == ("ADDRESS_REFUSED", 2)
    await action.close()


async def test_http_proxy_is_subject_to_the_policy(guarded: HttpAction, origin: str) -> None:
    """The connection goes to the proxy, so the proxy is what is judged."""
    error = await _failure(guarded, url="http://example.org/", proxies={"http": f"http://127.0.0.1:{origin}"})

    assert error.code == "ADDRESS_REFUSED"


@pytest.fixture
async def secure_origin(identity: Identity) -> AsyncIterator[str]:
    """Serve over TLS, and ask for the client's certificate; give the URL."""
    context = identity.server()
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(identity.folder / identity.trusted)
    app = web.Application()
    app.router.add_get("/who", _who)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}/who"
    await runner.cleanup()


async def _who(request: web.Request) -> web.Response:
    assert request.transport is not None
    return web.json_response(bool(request.transport.get_extra_info("peercert")))


async def test_http_checks_certificates(http: HttpAction, secure_origin: str) -> None:
    """It is on by default; another attempt would fail alike."""
    error = await _failure(http, url=secure_origin)

    assert (error.code, error.retryable) == ("TLS", False)


@pytest.mark.parametrize(
    ("options", "shows_own"),
    [
        ({"verify": "trusted.pem"}, False),
        ({"verify": False}, False),
        ({"verify": "trusted.pem", "cert": "chain.pem"}, True),
        ({"verify": False, "cert": "chain.pem"}, True),
    ],
)
async def test_http_tls_options(
    identity: Identity, secure_origin: str, options: dict[str, object], shows_own: bool
) -> None:
    """Certificates to trust and one's own come from files of the server's directory."""
    action = HttpAction(EgressPolicy(True), Files(str(identity.folder)))

    assert await _content(action, url=secure_origin, **options) is shows_own
    await action.close()


@pytest.mark.parametrize(
    "options", [{"verify": "nothing.pem"}, {"verify": "note"}, {"cert": "trusted.pem"}, {"cert": 5}]
)
async def test_http_wrong_tls_files_are_not_retried(
    identity: Identity, secure_origin: str, options: dict[str, object]
) -> None:
    """No file, no certificate, no key."""
    (identity.folder / "note").write_text("no PEM")
    action = HttpAction(EgressPolicy(True), Files(str(identity.folder)))

    error = await _failure(action, url=secure_origin, **options)

    assert (error.code, error.retryable) == ("BAD_INPUT", False)
    await action.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
async def test_http_methods(http: HttpAction, origin: str, method: str) -> None:
    """Every method that the server takes."""
    result = await http.run({"url": f"http://127.0.0.1:{origin}/echo", "method": method})

    assert isinstance(result, dict)
    assert result["content"] == "" if method == "HEAD" else result["content"]["method"] == method


# --- std.mistral_http ----------------------------------------------------------------------------

CALLER = Caller("order", "0198-e", "t2", "a3")


async def test_mistral_http_says_where_to_call_back(origin: str) -> None:
    """Mistral's headers, with an absolute URL; the workflow cannot set them itself."""
    action = HttpAction(EgressPolicy(True), NO_FILES, callback_url="https://front.example/tw/")
    HEADERS.clear()

    await action.post(
        {"url": f"http://127.0.0.1:{origin}/echo", "headers": {"X": "1", "mistral-task-id": "forged"}}, CALLER
    )

    seen = {name: value for name, value in HEADERS[0].items() if name.startswith(("Mistral", "mistral", "X"))}
    assert seen == {
        "X": "1",
        "Mistral-Workflow-Name": "order",
        "Mistral-Workflow-Execution-Id": "0198-e",
        "Mistral-Task-Id": "t2",
        "Mistral-Action-Execution-Id": "0198-e/a3",
        "Mistral-Callback-URL": "https://front.example/tw/v2/action_executions/0198-e/a3",
    }
    await action.close()


async def test_mistral_http_needs_a_url_to_call_back_to(http: HttpAction, origin: str) -> None:
    """Nobody could answer otherwise, and the request must not go out."""
    HEADERS.clear()
    with pytest.raises(ActionError) as caught:
        await http.post({"url": f"http://127.0.0.1:{origin}/echo"}, CALLER)

    assert (caught.value.code, caught.value.retryable) == ("NO_CALLBACK_URL", False)
    assert "callback_url" in caught.value.message
    assert HEADERS == []

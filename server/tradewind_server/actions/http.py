"""The actions std.http and std.mistral_http: one request to a web server.

What it takes and gives is Mistral's (docs/actions.md), but numbers keep their digits: a JSON content is read
as every other value, and `elapsed` is a decimal.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import dataclasses
import ssl
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import yarl

from tradewind_server.actions.egress import AddressRefused, EgressPolicy, connection_failure
from tradewind_server.actions.files import Files, tls_of
from tradewind_server.actions.outcome import ActionError, Caller, readable
from tradewind_server.actions.parameters import Input, bad, flag, text, timed_out, timeout
from tradewind_server.lang.values import ValueProblem, decode, encode, to_text
from tradewind_server.on_demand import OnDemand, loaded

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
else:
    aiohttp = OnDemand("aiohttp")

#: Longest response, bytes after decompression; Mistral's own limit.
MAX_RESPONSE_BYTES = 5 * 1024 * 1024

_CHUNK_BYTES = 64 * 1024
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
#: Codecs of Python's own, which are no charsets; with punycode 5 MiB kept the whole server for an hour.
_NO_CHARSETS = frozenset({"idna", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})

Pairs = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """A request, ready to be sent."""

    method: str
    url: yarl.URL
    params: Pairs
    body: bytes | None
    headers: Pairs
    cookies: dict[str, str]
    timeout: float
    follow: bool
    tls: ssl.SSLContext | bool
    proxy: str | None


class HttpAction:
    """Does std.http and std.mistral_http over one pool of connections. Use it within one event loop, and close it."""

    def __init__(
        self,
        policy: EgressPolicy,
        files: Files,
        *,
        callback_url: str = "",
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._callback_url = callback_url.rstrip("/")
        self._policy = policy
        self._files = files
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def run(self, given: Input) -> object:
        """Send the request and return what came back.

        Raises:
            ActionError: the input is wrong, nobody answers in time, the response is too long, or its status is not from
                200 to 306; then the details are what would have been the result.
        """
        request = _read(given, self._files)
        await loaded(aiohttp)
        try:
            result = await self._send(request)
        except TimeoutError:
            raise timed_out(request.timeout) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error
        status = result["status"]
        assert isinstance(status, int)
        if not 200 <= status <= 306:
            message = f"The server answered with status {status}."
            raise ActionError(message, details=result, code=f"HTTP_{status}")
        return result

    async def post(self, given: Input, caller: Caller) -> None:
        """Send the request of std.mistral_http, whose receiver calls back with the result.

        Raises:
            ActionError: as for `run`, or there is no URL to call back to.
        """
        if not self._callback_url:
            message = "Nobody could call back: the server has no URL for that (setting callback_url)."
            raise ActionError(message, code="NO_CALLBACK_URL", retryable=False)
        await self.run({**given, "headers": self._callback_headers(given, caller)})

    def _callback_headers(self, given: Input, caller: Caller) -> dict[str, object]:
        written = given.get("headers")
        if written is not None and not isinstance(written, dict):
            raise bad("headers must be a dictionary")
        action = f"{caller.execution_id}/{caller.action_id}"
        return {
            **{name: value for name, value in (written or {}).items() if not name.lower().startswith("mistral-")},
            "Mistral-Workflow-Name": caller.workflow,
            "Mistral-Workflow-Execution-Id": caller.execution_id,
            "Mistral-Task-Id": caller.task,
            "Mistral-Action-Execution-Id": action,
            # Mistral's is relative, and so its receiver has to know where it came from (R24)
            "Mistral-Callback-URL": f"{self._callback_url}/v2/action_executions/{action}",
        }

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, request: _Request) -> dict[str, object]:
        clock = asyncio.get_running_loop()
        started = clock.time()
        async with self._opened().request(
            request.method,
            request.url,
            params=request.params or None,
            data=request.body,
            headers=request.headers,
            cookies=request.cookies,
            timeout=aiohttp.ClientTimeout(total=request.timeout),
            allow_redirects=request.follow,
            ssl=request.tls,
            proxy=request.proxy,
            skip_auto_headers=["Content-Type"],
        ) as response:
            body = await _body(response)
            return _result(response, body, clock.time() - started)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._policy.session(self._resolver)
        return self._session


# --- the request ---------------------------------------------------------------------------------


def _read(given: Input, files: Files) -> _Request:
    body, content_type = _content(given)
    headers = _pairs(given, "headers") + _auth(given)
    if content_type and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", content_type))
    default_method = "GET" if given.get("form") is None else "POST"
    url = _url(given)
    return _Request(
        method=text(given, "method", default_method).upper(),
        url=url,
        params=_params(given),
        body=body,
        headers=headers,
        cookies=dict(_pairs(given, "cookies")),
        timeout=timeout(given),
        follow=flag(given, "allow_redirects", True),
        tls=tls_of(given, files),
        proxy=dict(_pairs(given, "proxies")).get(url.scheme),
    )


def _url(given: Input) -> yarl.URL:
    try:
        url = yarl.URL(text(given, "url"))
    except ValueError as error:
        raise bad(f"url is not one: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise bad("url must begin with http:// or https:// and name a host")
    return url


def _content(given: Input) -> tuple[bytes | None, str]:
    filled = [name for name in ("body", "json", "form") if given.get(name) is not None]
    if len(filled) > 1:
        raise bad(f"{' and '.join(filled)} cannot be given together")
    if not filled:
        return None, ""
    content = given[filled[0]]
    if filled == ["form"]:
        return urlencode(_pairs(given, "form")).encode(), _FORM
    if filled == ["body"] and isinstance(content, str):
        return content.encode(), ""
    return encode(content), _JSON


def _params(given: Input) -> Pairs:
    params = given.get("params")
    if isinstance(params, str):
        return list(yarl.URL.build(query_string=params).query.items())
    return _pairs(given, "params")


def _pairs(given: Input, name: str) -> Pairs:
    """Return the dictionary called *name* as pairs of text; a list stands for several pairs, null for none."""
    value = given.get(name)
    if value is None:
        return []
    if not isinstance(value, dict):
        raise bad(f"{name} must be a dictionary")
    pairs: Pairs = []
    for key, items in value.items():
        pairs.extend(
            (key, _scalar(item)) for item in (items if isinstance(items, list) else [items]) if item is not None
        )
    return pairs


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else to_text(value)


def _auth(given: Input) -> Pairs:
    value = given.get("auth")
    if value is None:
        return []
    if not isinstance(value, str) or ":" not in value:
        raise bad("auth must be of the form user:password")
    # as a header aiohttp drops it when a redirect leads to another origin
    return [("Authorization", f"Basic {base64.b64encode(value.encode()).decode()}")]


# --- the response --------------------------------------------------------------------------------


async def _body(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            response.close()
            raise ActionError(
                f"The response is longer than {MAX_RESPONSE_BYTES} bytes.", code="TOO_LARGE", retryable=False
            )
        parts.append(part)
    return b"".join(parts)


def _result(response: aiohttp.ClientResponse, body: bytes, seconds: float) -> dict[str, object]:
    return {
        "content": _value(body, response.charset),
        "status": response.status,
        "headers": _joined(response.headers.items()),
        "url": readable(str(response.url)),
        "history": [{"url": readable(str(step.url)), "status": step.status} for step in response.history],
        "encoding": response.charset,
        "reason": readable(response.reason or ""),
        "cookies": {name: readable(morsel.value) for name, morsel in response.cookies.items()},
        "elapsed": Decimal(round(seconds * 1_000_000)).scaleb(-6),
    }


def _value(body: bytes, charset: str | None) -> object:
    """Read the body as JSON if it is, whatever it calls itself, as Mistral does; else as text."""
    try:
        return decode(body)
    except ValueProblem:
        return _decoded(body, charset or "utf-8")


def _decoded(body: bytes, charset: str) -> str:
    try:
        codec = codecs.lookup(charset).name
        return readable(body.decode("utf-8" if codec in _NO_CHARSETS else codec, "replace"))
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {readable(value)}" if name in joined else readable(value)
    return joined


def _failure(error: Exception) -> ActionError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return ActionError(f"TLS failed: {str(error)}", code="TLS", retryable=False)
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return connection_failure(error.os_error, "")
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError) or not isinstance(
        error, aiohttp.ClientError | OSError
    ):
        return bad(f"The request cannot be sent: {error}")
    return ActionError(f"The request failed: {str(error) or type(error).__name__}", code="CONNECTION")

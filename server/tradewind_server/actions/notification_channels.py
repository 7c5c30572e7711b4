"""The channels over which people are notified, as the file of channels names them.

link: https://tradewind.example.org/tasks/{human_task}
channels:
  mail:
    kind: email
    server: smtp.example.org:587
    tls: starttls                  # or implicit, or none
    username: tradewind
    password: secret('smtp')
    from: Tradewind <tradewind@example.org>
  sms:
    kind: sms
    url: https://sms.example.org/messages
    headers: {Authorization: "Bearer secret('sms')"}
    json: {to: "{address}", text: "{short}", reference: "{id}"}    # or form
    message_id: messages.0.id      # where the answer has it
  hook:
    kind: webhook                  # the address is the URL
    signing_secret: hook
templates:
  reminder: {subject: "Please decide: {title}"}
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tradewind_server.actions.notification_texts import (
    DEFAULTS,
    FIELDS,
    TEMPLATE,
    TEMPLATES,
    TEXTS,
    Texts,
    check_fields,
)
from tradewind_server.lang.configuration import read_file
from tradewind_server.lang.documents import Path
from tradewind_server.lang.durations import Unit, duration_of
from tradewind_server.lang.reader import Keyword, Reader, Shape
from tradewind_server.lang.shapes import FLAG, TEXT

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
#: A server keeps what it is sending to itself for a minute; an attempt has to end before that.
_MOST_TIMEOUT_SECONDS = 45
_METHODS = ("POST", "PUT", "PATCH")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What every channel has."""

    name: str
    #: Seconds that one attempt may take.
    timeout: int = 10
    #: After so many attempts, or so many seconds after the first, the recipient's next channel is tried.
    max_attempts: int = 5
    max_age: int = 3600
    #: It may connect to addresses that are not of the public internet, whatever allow_private_addresses says.
    allow_private: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EmailChannel(Channel):
    """A mail server. Addresses are those of people, with commas between."""

    server: str
    sender: str
    tls: str = ""
    username: str = ""
    password: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SmsChannel(Channel):
    """A provider that takes messages over HTTP. Addresses are what it calls a recipient: a telephone number."""

    url: str
    method: str = "POST"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: One of both: what is sent, with fields in its texts.
    json: object = None
    form: Mapping[str, str] | None = None
    #: Where the JSON of the answer has the provider's name for the message; "" if it has none.
    message_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChannel(Channel):
    """A receiver of signed JSON. Addresses are URLs."""

    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    signing_secret: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """The file of channels."""

    channels: Mapping[str, EmailChannel | SmsChannel | WebhookChannel] = dataclasses.field(default_factory=dict)
    templates: Mapping[str, Texts] = dataclasses.field(default_factory=lambda: DEFAULTS)
    #: Template of the address at which a person finds a human task.
    link: str = ""


def read_channels(path: str) -> Setup:
    """Return what the file at *path* says; with "" there is no channel.

    Raises:
        Unusable: the file cannot be used.
    """
    return Setup(**read_file(path, _FILE, "channels")) if path else Setup()


def _read_headers(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, dict) and all(isinstance(item, str) and item.isprintable() for item in value.values()):
        return value
    return reader.wrong(path, value, "a mapping of headers to texts")


def _read_filling(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict) or not value:
        return reader.wrong(path, value, "a mapping with fields in its texts")
    for place, text in _texts(value, path):
        check_fields(reader, place, text, FIELDS | TEXTS)
    return value


def _texts(value: object, path: Path) -> list[tuple[Path, str]]:
    if isinstance(value, str):
        return [(path, value)]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in _texts(item, (*path, key))]


def _read_form(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, dict) and not all(isinstance(item, str) for item in value.values()):
        return reader.wrong(path, value, "a mapping of names to texts")
    return _read_filling(reader, value, path)


def _one_of(*words: str) -> Shape:
    expected = f"one of {', '.join(words)}"
    return Shape(expected, lambda reader, value, path: value if value in words else reader.wrong(path, value, expected))


def _number(least: int, most: int) -> Shape:
    def read(reader: Reader, value: object, path: Path) -> object:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        return reader.wrong(path, value, f"a whole number from {least} to {most}")

    return Shape("a whole number", read)


def _seconds(most: int) -> Shape:
    def read(reader: Reader, value: object, path: Path) -> object:
        try:
            found = duration_of(value)
        except ValueError:
            found = duration_of(0)
        if found.unit is Unit.SECOND and 1 <= found.count <= most:
            return found.count
        return reader.wrong(path, value, f"seconds, or a text such as 10s, up to {most} s")

    return Shape("a duration", read)


_KINDS = ("email", "sms", "webhook")
_ALL = {
    "kind": Keyword(_one_of(*_KINDS), required=True),
    "timeout": Keyword(_seconds(_MOST_TIMEOUT_SECONDS)),
    "max_attempts": Keyword(_number(1, 100)),
    "max_age": Keyword(_seconds(30 * 86_400)),
    "allow_private": Keyword(FLAG),
}
_HEADERS = Keyword(Shape("a mapping of headers", _read_headers))
_TABLES: dict[object, dict[str, Keyword]] = {
    "email": {
        **_ALL,
        "server": Keyword(TEXT, required=True),
        "from": Keyword(TEXT, required=True),
        "tls": Keyword(_one_of("none", "starttls", "implicit")),
        "username": Keyword(TEXT),
        "password": Keyword(TEXT),
    },
    "sms": {
        **_ALL,
        "url": Keyword(TEXT, required=True),
        "method": Keyword(_one_of(*_METHODS)),
        "headers": _HEADERS,
        "json": Keyword(Shape("a mapping", _read_filling)),
        "form": Keyword(Shape("a mapping", _read_form)),
        "message_id": Keyword(TEXT),
    },
    "webhook": {**_ALL, "headers": _HEADERS, "signing_secret": Keyword(TEXT)},
}
_CLASSES: dict[object, type[EmailChannel | SmsChannel | WebhookChannel]] = {
    "email": EmailChannel,
    "sms": SmsChannel,
    "webhook": WebhookChannel,
}


def _read_channel(reader: Reader, name: str, value: object, path: Path) -> object:
    kind = value.get("kind") if isinstance(value, dict) else None
    keywords = _TABLES.get(kind, _ALL)
    parts: dict[str, Any] = reader.table(value, path, keywords, f"a channel of kind '{kind}'")
    if not _NAME.fullmatch(name):
        reader.wrong(path, name, "a channel's name of at most 32 small letters, digits, '_' and '-'")
    if kind == "sms" and ("json" in parts) == ("form" in parts):
        reader.report("missing-keyword", path, "Expected either 'json' or 'form' in a channel of kind 'sms'.")
    if not all(keyword in parts for keyword, each in keywords.items() if each.required):
        return None
    parts.pop("kind")
    if "from" in parts:
        parts["sender"] = parts.pop("from")
    return _CLASSES[kind](name=name, **parts)


def _read_channels(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict) or not value:
        return reader.wrong(path, value, "a mapping of names to channels")
    found = {name: _read_channel(reader, name, each, (*path, name)) for name, each in value.items()}
    return {name: channel for name, channel in found.items() if channel is not None}


_FILE = {
    "channels": Keyword(Shape("a mapping of names to channels", _read_channels), required=True),
    "templates": Keyword(TEMPLATES),
    "link": Keyword(TEMPLATE),
}

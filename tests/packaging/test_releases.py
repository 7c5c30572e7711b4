"""What released versions have promised: their messages and stored events are read for ever, their image is compared."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

from tools import golden
from tradewind_server import __version__
from tradewind_server.engine.codec import decode_event, encode_event

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


def order(version: str) -> list[int]:
    """Return what orders versions."""
    return [int(number) for number in version.split(".")]


RELEASES = sorted((path.name for path in GOLDEN.iterdir()), key=order)


def kept(version: str, name: str) -> list[dict[str, Any]]:
    """Return what a release has kept."""
    items: list[dict[str, Any]] = json.loads((GOLDEN / version / name).read_text())
    return items


def holds(new: Any, old: Any) -> bool:
    """Tell whether all that *old* says stands in *new*, too."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


@pytest.mark.parametrize("version", RELEASES)
def test_messages_of_a_release_are_still_read(version: str) -> None:
    """Every field is known, and means what it meant."""
    pool = descriptor_pool.Default()
    assert golden.descriptors()
    for item in kept(version, "messages.json"):
        message = message_factory.GetMessageClass(pool.FindMessageTypeByName(item["type"]))()
        message.ParseFromString(base64.b64decode(item["bytes"]))
        assert len(UnknownFieldSet(message)) == 0, item["type"]
        assert holds(json_format.MessageToDict(message), item["json"]), item["type"]


@pytest.mark.parametrize("version", RELEASES)
def test_events_stored_by_a_release_are_still_read(version: str) -> None:
    """Also those of versions of their type that are not written any more."""
    for item in kept(version, "events.json"):
        event = decode_event(item["type"], item["version"], item["body"].encode())
        assert holds(json.loads(encode_event(event)), json.loads(item["body"])), item["type"]


def test_image_is_that_of_the_last_release() -> None:
    """It is replaced only with a new version: what a release promised is what `buf breaking` compares with."""
    image = (ROOT / "protos" / "baseline.binpb").read_bytes()
    last = RELEASES[-1]
    assert (GOLDEN / last / "image.sha256").read_text().strip() == hashlib.sha256(image).hexdigest()
    released = re.findall(r"^## (\d+\.\d+\.\d+) ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sorted(released, key=order) == RELEASES
    assert order(__version__.partition(".dev")[0]) >= order(last)


@pytest.mark.parametrize("version", RELEASES)
def test_migrations_of_a_release_are_not_edited(version: str) -> None:
    """Databases have been through them; what changes afterwards is a migration of its own."""
    folder = ROOT / "server" / "tradewind_server" / "store" / "migrations" / "versions"
    for line in (GOLDEN / version / "migrations.sha256").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(
    ("new", "old"),
    [({"a": 1}, {"a": 1, "b": 2}), ({"a": [1, 2]}, {"a": [1]}), ({"a": "x"}, {"a": "y"}), (None, {"a": 1})],
)
def test_what_is_lost_or_changed_is_found(new: Any, old: Any) -> None:
    """Faults planted in what is compared."""
    assert not holds(new, old)

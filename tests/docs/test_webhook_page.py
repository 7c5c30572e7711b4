"""The CloudEvent that docs/subscriptions.md shows is the one that is sent."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from tests.docs.blocks import blocks
from tradewind_server.actions.webhook_sender import cloud_event
from tradewind_server.clock import to_microseconds
from tradewind_server.engine.codec import encode_event
from tradewind_server.engine.events import ExecutionFailed
from tradewind_server.store.records import StoredEvent

PAGE = Path(__file__).resolve().parents[2] / "docs/subscriptions.md"


def test_event_of_a_webhook_is_what_the_page_shows() -> None:
    """Field by field, in this order: its shape was told nowhere."""
    [shown] = [block for block in blocks(PAGE) if block.language == "json" and "specversion" in block.text]
    wanted = json.loads(shown.text)
    data = wanted["data"]
    kind, name = data["actor"].values()
    event = StoredEvent(
        data["execution_id"], data["revision"], data["namespace"], "", data["workflow"], data["business_key"],
        data["type"], data["type_version"], to_microseconds(datetime.fromisoformat(data["at"])),
        f"{kind.lower()}:{name}", data["command"], "", 0, data["task"], 0, 0, 0, 1, "", 0,
        encode_event(ExecutionFailed(**data["body"])),
    )  # fmt: skip
    assert json.dumps(json.loads(cloud_event(event))) == json.dumps(wanted)

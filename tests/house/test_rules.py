"""The rules hold for every module of the server, and each of them finds a planted fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import rules

Rule = Callable[[str, str], list[str]]

RULES: list[Rule] = [
    rules.import_faults,
    rules.local_import_faults,
    rules.chance_faults,
    rules.length_faults,
    rules.name_faults,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_everywhere(rule: Rule) -> None:
    """All modules, all faults at once."""
    faults = [
        f"{rules.place(path)}: {fault}"
        for path in rules.modules()
        for fault in rule(rules.place(path), path.read_text(encoding="utf-8"))
    ]

    assert faults == []


@pytest.mark.parametrize(
    ("rule", "where", "text"),
    [
        (rules.import_faults, "lang/checking.py", "from tradewind_server.engine import decide"),
        (rules.import_faults, "engine/tasks.py", "from tradewind_server.store import schema"),
        (rules.import_faults, "engine/tasks.py", "from tradewind_server import store"),
        (rules.import_faults, "engine/tasks.py", "import tradewind_server.clock"),
        (rules.import_faults, "store/writer.py", "runtime = OnDemand('tradewind_server.runtime.batch')"),
        (rules.import_faults, "engine/tasks.py", "import sqlalchemy as sa"),
        (rules.import_faults, "lang/checking.py", "import logging"),
        (rules.import_faults, "store/loading.py", "from tradewind_server.clock import SystemClock"),
        (rules.import_faults, "store/loading.py", "from tradewind_server.ids import SystemIds"),
        (
            rules.import_faults,
            "store/loading.py",
            "from tradewind_server.settings import Settings\nimport tradewind.v1",
        ),
        (rules.import_faults, "runtime/hub.py", "from tradewind.v1 import task_pb2"),
        (rules.import_faults, "runtime/hub.py", "from tradewind_server.api import errors"),
        (rules.import_faults, "api/errors.py", "from tradewind_server.actions import catalogue"),
        (rules.import_faults, "api/errors.py", "import tradewind"),
        (rules.import_faults, "bootstrap.py", "from tradewind_server.testing.world import World"),
        (rules.import_faults, "cli/testing.py", "from tradewind_server.testing import cases"),
        (rules.import_faults, "cli/testing.py", "def f():\n    from tradewind_server.testing.world import World"),
        (rules.import_faults, "cli/running.py", "def f():\n    from tradewind_server.testing import cases"),
        (rules.import_faults, "errors.py", "from tradewind_server.settings import Settings"),
        (rules.local_import_faults, "api/errors.py", "def f():\n    import json"),
        (rules.chance_faults, "runtime/hub.py", "import time"),
        (rules.chance_faults, "runtime/hub.py", "from datetime import datetime, UTC\nx = datetime.now(UTC)"),
        (rules.chance_faults, "runtime/hub.py", "import datetime\nx = datetime.datetime.now()"),
        (rules.chance_faults, "engine/calls.py", "import uuid\nx = uuid.uuid4()"),
        (rules.chance_faults, "clock.py", "import random"),
        (rules.chance_faults, "api/server.py", "import os\nx = os.urandom(8)"),
        (rules.length_faults, "api/server.py", "\n" * 601),
        (rules.name_faults, "store/utils.py", ""),
        (rules.name_faults, "helpers/time.py", ""),
    ],
)
def test_rule_finds_a_planted_fault(rule: Rule, where: str, text: str) -> None:
    """A rule that finds nothing is no rule."""
    assert len(rule(where, text)) == 1


@pytest.mark.parametrize(
    ("rule", "where", "text"),
    [
        (rules.import_faults, "engine/tasks.py", "from tradewind_server.lang import specs\nimport hashlib"),
        (rules.import_faults, "store/loading.py", "from tradewind_server.clock import to_microseconds"),
        (rules.import_faults, "store/writer.py", "ahead = OnDemand('tradewind_server.store.ahead')"),
        (rules.import_faults, "cli/running.py", "import tradewind\nfrom tradewind_server.bootstrap import serve"),
        (rules.import_faults, "cli/testing.py", "def f():\n    from tradewind_server.testing import cases"),
        (
            rules.import_faults,
            "cli/testing.py",
            "if TYPE_CHECKING:\n    from tradewind_server.testing.cases import Report",
        ),
        (rules.local_import_faults, "cli/running.py", "def f():\n    import json"),
        (rules.chance_faults, "clock.py", "import time"),
        (rules.chance_faults, "engine/calls.py", "import uuid\nx = uuid.UUID(int=1)"),
        (rules.length_faults, "api/server.py", "\n" * 600),
        (rules.name_faults, "store/database.py", ""),
    ],
)
def test_rule_lets_the_right_pass(rule: Rule, where: str, text: str) -> None:
    """The same rules in the other direction."""
    assert rule(where, text) == []


def test_exceptions_are_still_needed() -> None:
    """An exception whose reason is gone goes too."""
    for where in rules.MEASURES_TIME:
        text = (rules.SERVER / where).read_text(encoding="utf-8")
        assert "time." in text or "datetime.now" in text, where
    for where, module in rules.BEYOND_THE_TABLE.items():
        assert module.rpartition(".")[2] in (rules.SERVER / where).read_text(encoding="utf-8"), where
    for where in rules.GRANTED_LINES:
        assert len((rules.SERVER / where).read_text(encoding="utf-8").splitlines()) > rules.MAX_LINES, where


def test_all_rooms_are_in_the_table() -> None:
    """A new room needs its place in the table."""
    found = {rules.room_of(rules.place(path)) for path in rules.modules()} - {""}

    assert found <= rules.ROOMS.keys()

"""The salary process runs as its demo says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tradewind_server import lang

ROOT = Path(__file__).resolve().parents[2]
SALARY = ROOT / "examples" / "salary"


def shape(line: str) -> str:
    """Return a line without what differs each time: ids, durations, and the language of the bonus worker."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9.]+ s\b|(?<=bonus worker in ).*|by WORKER.*", "", line).strip()


def test_definition_has_no_problem() -> None:
    """Not even a warning."""
    assert lang.check([lang.Source("salary.yaml", (SALARY / "salary.yaml").read_text())]).problems == ()


@pytest.mark.slow
def test_demo_shows_approval_failure_and_crash() -> None:
    """It ends by itself in less than 90 seconds, and each act ends as it should."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, SALARY / "demo.py"], stdout=subprocess.PIPE, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - began < 90
    assert "SUCCEEDED: 4250.50 + 612.30 = 4862.80 paid as P-0001" in done.stdout
    assert ">>> SMS to +15550100: Salary of e-13 for 2026-11: fetch_base failed: " in done.stdout
    assert "kill -9" in done.stdout
    assert "SUCCEEDED: 3980.05 + 0.95 = 3981.00 paid as P-0002" in done.stdout
    assert "OK: " in done.stdout
    [shown] = [block for block in blocks(ROOT / "README.md") if block.directive == "demo"]
    found = {shape(line) for line in done.stdout.splitlines()}
    # what two programs print at the same moment may come in either order
    missing = [line for line in shown.text.splitlines()[:-2] if shape(line) not in found and "building" not in line]
    assert missing == []

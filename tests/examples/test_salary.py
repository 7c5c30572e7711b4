"""The salary process runs as its demo says."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tradewind_server import lang

SALARY = Path(__file__).resolve().parents[2] / "examples" / "salary"


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

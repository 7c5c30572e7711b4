"""The salary process runs as its demo, its month's end and its page say."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.story import Story
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
    assert "approved by mira: 4862.80 EUR paid as P-0001" in done.stdout
    assert "it is the same execution" in done.stdout
    assert ">>> SMS to +15550100: Salary of e-13 for 2026-11: fetch_base failed: " in done.stdout
    assert "kill -9" in done.stdout
    assert "a bonus of 199.50 EUR, approved by mira: 4179.55 EUR paid as P-0002" in done.stdout
    assert "OK: " in done.stdout
    [shown] = [block for block in blocks(ROOT / "README.md") if block.directive == "demo"]
    found = {shape(line) for line in done.stdout.splitlines()}
    # what two programs print at the same moment may come in either order
    found.add("…")
    missing = [line for line in shown.text.splitlines()[:-2] if shape(line) not in found and "building" not in line]
    assert missing == []


@pytest.mark.slow
def test_month_end_pays_everybody_once() -> None:
    """Forty employees: 16 without a bonus, 2 whose bonus is large. The same start once more pays nobody again."""
    command = [sys.executable, str(SALARY / "month_end.py"), "40"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert "mira approves 24 at once" in done.stdout
    assert "dora approves 2 at once" in done.stdout
    # 40 * 2000.05 + (1001 + … + 1040), 22 bonuses of 200.00 and 2 of 1500.00, and the cents of those 24
    assert "40 of 40 are paid, 128466.92 EUR in all" in done.stdout
    assert "started again by mistake: 0 new executions" in done.stdout
    [shown] = [block for block in blocks(SALARY / "README.md") if block.directive == "month-end"]
    assert {words(line) for line in shown.text.splitlines()} <= {words(line) for line in done.stdout.splitlines()}


def words(line: str) -> str:
    """Return a line without its figures, bars and blanks."""
    return " ".join(re.sub(r"\[[#.]*\]|[0-9.]+", "", line).split())


@pytest.mark.slow
def test_commands_of_the_page_do_what_it_shows(tmp_path: Path) -> None:
    """From the root of the repository: here a folder that has the examples."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with Story(tmp_path) as story:
        assert story.read(SALARY / "README.md") > 15

"""The bench still works: its smallest run, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _files(folder: Path) -> dict[Path, int]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in found}


def _run(here: Path, temporary: Path, page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "clients" / "python")))
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "bench", "--quick", *arguments, "--database", "sqlite", "--results", str(page)]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("seq10", ["`journal_mode=wal synchronous=FULL`", "| `seq10`: ten sequential actions"]),
        pytest.param(
            "expressions",
            ["| YAQL, a variable: `$.order.total` |", "| Jinja, a variable: `_.order.total` |"],
            marks=pytest.mark.long,
        ),
        pytest.param("definition", ["500 tasks, "], marks=pytest.mark.long),
        pytest.param("items", ["with-items over 1,000 numbers", "| SQLite | "], marks=pytest.mark.long),
        pytest.param("starts", ["## Starting", "| SQLite | "], marks=pytest.mark.long),
    ],
)
def test_quick_run_measures_and_writes_its_page_only(tmp_path: Path, name: str, shown: list[str]) -> None:
    """It ends 0, writes the page where it was told to, and leaves nothing else behind."""
    # given
    before = _files(ROOT / "bench")
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    page = here / "page.md"

    # when
    done = _run(here, temporary, page, "--only", name)

    # then
    assert (done.returncode, done.stderr[-2000:] if done.returncode else "") == (0, "")
    text = page.read_text()
    assert [part for part in shown if part not in text] == []
    assert list(here.iterdir()) == [page]
    assert list(temporary.iterdir()) == []
    assert _files(ROOT / "bench") == before

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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")
def test_quick_run_measures_and_writes_its_page_only(tmp_path: Path) -> None:
    """It ends 0, writes the page where it was told to, and leaves nothing else behind."""
    # given
    before = _files(ROOT / "bench")
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    page = here / "page.md"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "clients" / "python")))
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(temporary)}

    # when
    command = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--only",
        "seq10",
        "--database",
        "sqlite",
        "--results",
        str(page),
    ]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False)

    # then
    assert (done.returncode, done.stderr[-2000:] if done.returncode else "") == (0, "")
    assert "`journal_mode=wal synchronous=FULL`" in page.read_text()
    assert "| `seq10`: ten sequential actions" in page.read_text()
    assert list(here.iterdir()) == [page]
    assert list(temporary.iterdir()) == []
    assert _files(ROOT / "bench") == before

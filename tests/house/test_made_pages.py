"""The command that writes or compares what is made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import pages


@pytest.mark.parametrize(("arguments", "code", "text"), [((), 0, "new"), (("--check",), 1, "old")])
def test_differing_page_is_written_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, text: str
) -> None:
    """With --check nothing is written, and the exit code says so."""
    # given
    page = tmp_path / "page.md"
    page.write_text("old")
    monkeypatch.setattr(pages, "MADE", {page: lambda: "new"})
    monkeypatch.setattr(pages, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["pages", *arguments])

    # when
    found = pages.main()

    # then
    assert (found, page.read_text()) == (code, text)

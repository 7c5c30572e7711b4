"""Parts of the page that a command of their own measures: each stands between two marks and is replaced alone."""

from __future__ import annotations

import re
from pathlib import Path

from bench import machine

PAGE = Path(__file__).parent / "results.md"
_PART = re.compile(r"<!-- part (\w+) -->\n.*?\n<!-- end -->\n", re.DOTALL)


def put(name: str, title: str, text: str, page: Path = PAGE) -> None:
    """Write a part into the page, in the place of the one before it."""
    facts = dict(machine.describe())
    on = f"Made by `python -m bench.{name}` on {facts['Cores']}, {facts['Memory']}, {facts['Python']}."
    part = f"<!-- part {name} -->\n## {title}\n\n{on}\n\n{text.strip()}\n<!-- end -->\n"
    old = page.read_text()
    parts = {found.group(1): found.group(0) for found in _PART.finditer(old)} | {name: part}
    page.write_text(_joined(_PART.sub("", old), parts))


def carried(new: str, page: Path = PAGE) -> str:
    """Return a new page with the parts of the old one."""
    old = page.read_text() if page.exists() else ""
    return _joined(new, {found.group(1): found.group(0) for found in _PART.finditer(old)})


def _joined(page: str, parts: dict[str, str]) -> str:
    return "\n".join([page.rstrip() + "\n", *(parts[name] for name in sorted(parts))])

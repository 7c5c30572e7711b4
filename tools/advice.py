"""Make the Python client's table of what to do about each error from docs/errors.md (`make pages`)."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
PAGE = _ROOT / "docs" / "errors.md"
MODULE = _ROOT / "clients" / "python" / "tradewind" / "advice.py"

_HEAD = '''"""What to do about each reason for which a server refuses. Made from docs/errors.md by `make pages`."""

from __future__ import annotations

from collections.abc import Mapping

WHAT_TO_DO: Mapping[str, str] = {
'''
#: Of a line, without what is around reason and advice.
_WIDTH = 108


def module() -> str:
    """Return the text of the module."""
    entries = (_entry(reason, advice) for reason, advice in advice_of(PAGE.read_text(encoding="utf-8")).items())
    return _formatted(f"{_HEAD}{''.join(entries)}}}\n")


def advice_of(page: str) -> Mapping[str, str]:
    """Return what to do by reason, in the page's order; a link to another page becomes that page's name."""
    found = re.findall(r"^## (\w+)\n[^#]+?^- What to do: (.+)$", page, re.MULTILINE)
    return {reason: re.sub(r"\[[^]]+\]\(([^)]+)\)", r"docs/\1", advice) for reason, advice in found}


def _entry(reason: str, advice: str) -> str:
    first, *others = textwrap.wrap(advice, _WIDTH - len(reason), break_on_hyphens=False)
    lines = "".join(f'"{line}"\n' for line in (first, *(f" {line}" for line in others)))
    return f'"{reason}": ({lines}),\n' if others else f'"{reason}": {lines},\n'


def _formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", MODULE.name, "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=_ROOT).stdout

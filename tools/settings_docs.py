"""Make docs/settings.md from the comments of settings.py, or compare it.

`python tools/settings_docs.py` writes it; `--check` writes nothing and exits 1 if it differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from tradewind_server import settings
from tradewind_server.settings import Settings, variable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

_HEAD = """# Settings

What a server can be told, with its default. A setting is read from its environment variable; the options of
`tradewind server` stand above the environment. [Operating](operating.md) has a unit for systemd. This page is made from
`settings.py` by `tools/settings_docs.py`; do not edit it.

| Setting | Environment variable | Type | Default | Meaning |
| --- | --- | --- | --- | --- |"""

_TYPES = {"bool": "true or false", "int": "whole number", "str": "text"}


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *rows(inspect.getsource(settings)), ""])


def rows(source: str) -> Iterable[str]:
    """Return a row of the table for each setting; *source* is the text of the module that declares them.

    Raises:
        ValueError: a setting has no comment.
    """
    meanings = comments(source)
    for field in dataclasses.fields(Settings):
        if not meanings.get(field.name):
            raise ValueError(f"the setting {field.name} has no `#:` comment")
        default = _shown(field.default)
        type_ = _TYPES[str(field.type)]
        yield f"| `{field.name}` | `{variable(field.name)}` | {type_} | {default} | {meanings[field.name]} |"


def comments(source: str) -> dict[str, str]:
    """Return the `#:` comment above each annotated name."""
    found: dict[str, str] = {}
    pending: list[str] = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("#:"):
            pending.append(line[2:].strip())
        elif pending:
            found[line.partition(":")[0]] = " ".join(pending)
            pending = []
    return found


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"`{default}`" if default != "" else "empty"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed page, write nothing")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write("docs/settings.md differs from settings.py: run tools/settings_docs.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

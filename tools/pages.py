"""Write every page and module that is made from something else than the protos' stubs (those: `generate.py`).

`make pages` runs it. With `--check` nothing is written: it exits 1 if one differs, and names it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import advice, api_docs, diagnostics_docs, settings_docs, state_machine

#: What is made -> what makes it.
MADE: Mapping[Path, Callable[[], str]] = {
    advice.MODULE: advice.module,
    api_docs.PAGE: api_docs.page,
    diagnostics_docs.PAGE: diagnostics_docs.page,
    settings_docs.PAGE: settings_docs.page,
    state_machine.PAGE: state_machine.page,
}
_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with what is committed, write nothing")
    is_check = parser.parse_args().check
    made = {path: make() for path, make in MADE.items()}
    differing = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in differing:
        if is_check:
            sys.stderr.write(f"{path.relative_to(_ROOT)} differs from what it is made from: run `make pages`\n")
        else:
            path.write_text(made[path], encoding="utf-8")
    return 1 if is_check and differing else 0


if __name__ == "__main__":
    sys.exit(main())

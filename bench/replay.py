"""`tradewind replay ID` for many ids in one process: `python -m bench.replay ADDRESS ID...`; 0 if all are equal."""

from __future__ import annotations

import sys

from tradewind_server.cli.app import app


def main(address: str, ids: list[str]) -> int:
    """Return how many executions differ from their history."""
    failed = 0
    for execution_id in ids:
        code = app(["replay", execution_id, "--address", address], standalone_mode=False)
        failed += bool(code)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1], sys.argv[2:]), 1))

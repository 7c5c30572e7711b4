"""`python -m tests.crash --kills 100 --seed 1 --database sqlite`; exit code 1 when something was lost."""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.crash.check import check
from tests.crash.drive import run
from tests.crash.faults import FAULTS, planted


def main() -> int:
    """Run once and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill servers, and look what is lost.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--servers", type=int, default=2, help="on PostgreSQL")
    parser.add_argument("--outages", action="store_true", help="PostgreSQL is stopped at once now and then")
    parser.add_argument("--reconnects", type=int, default=0, help="how many connections of watchers are reset")
    given = parser.parse_args()
    _say(f"seed {given.seed}, {given.kills} kills, {given.database}")
    began = time.monotonic()
    report = run(
        given.kills, given.seed, given.database, _say,
        servers=given.servers, outages=given.outages, reconnects=given.reconnects,
    )  # fmt: skip
    facts, faults = report.facts, [*report.stuck, *check(report.facts)]
    if report.reconnects < given.reconnects:
        faults.append(f"watchers were made to reconnect {report.reconnects} times instead of {given.reconnects}")
    for fault in faults[:50]:
        _say(f"FAULT {fault}")
    missed = [name for name in FAULTS if not faults and not check(planted(facts, name))]
    for name in missed:
        _say(f"FAULT the checker does not see the planted {name}")
    recorded = sum(r.status in ("RECORDED", "ALREADY_RECORDED") for r in facts.results.values())
    _say(
        f"{len(report.kills)} kills, {report.kills_in_flight} with commands in flight; {report.cuts} cuts of "
        f"connections, {report.black_holes} after a black hole; {report.outages} outages of the database, "
        f"{report.foreign_writes} long writes of somebody else\n"
        f"{report.reconnects} forced reconnects of watchers\n"
        f"{len(facts.seen)} watchers saw {sum(map(len, facts.seen.values()))} events; those of the namespace opened "
        f"{facts.streams} streams\n"
        f"{len(facts.starts)} starts, {len(facts.executions)} executions with children, "
        f"{recorded} of {len(facts.results)} results recorded, {len(facts.events)} events, "
        f"{len(facts.replays)} replayed\n{len(faults) + len(missed)} faults, {len(FAULTS) - len(missed)} planted "
        f"faults found, {time.monotonic() - began:.0f} s"
    )
    return int(bool(faults or missed))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


sys.exit(main())

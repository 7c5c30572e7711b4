"""The salaries of a month: 1,000 employees, a bulk approval by their manager, another by a director for large bonuses.

`make month-end` runs it; `python month_end.py [EMPLOYEES]` takes fewer. Everything that it starts ends with it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from house import open_house, tell

import tradewind
from tradewind.calls import StartOptions

MONTH = "2026-11"
#: Most starts in one call.
_CALL = 250
_BAR = 20
#: Task -> the column in which an execution stands while it is there.
_STAGES = {
    "approve_bonus": "at the manager",
    "approve_large_bonus": "at a director",
    "compute_total": "paying",
    "pay_out": "paying",
}
_COLUMNS = ("looking up", "at the manager", "at a director", "paying", "paid", "failed")


class Board:
    """How far each execution is, as the server pushes it."""

    def __init__(self, client: tradewind.Client, total: int, since: float) -> None:
        self._total = total
        self._since = since
        self._where: dict[str, str] = {}
        self._shown = 0.0
        self._is_live = sys.stdout.isatty()
        # when this is slower than the server, the newest state of each task is enough for a board
        self._updates = client.watch_events("workflow = salary", from_beginning=True, coalesce=True)

    def decided(self, execution_ids: Iterable[str]) -> None:
        """Know that these go on, before the server says so."""
        self._where.update(dict.fromkeys(execution_ids, "paying"))

    def until_people_are_asked(self) -> Counter[str]:
        """Follow until nothing moves but by people; return how many stand where."""
        for update in self._updates:
            for event in update.events:
                self._take(event)
            counts = Counter(self._where.values())
            resting = counts["at the manager"] + counts["at a director"] + counts["paid"] + counts["failed"]
            self._show(counts, is_last=resting == self._total)
            if resting == self._total:
                return counts
        raise AssertionError("a watch of a namespace does not end")

    def _take(self, event: tradewind.Event) -> None:
        if event.execution_state in ("SUCCEEDED", "FAILED"):
            self._where[event.execution_id] = "paid" if event.execution_state == "SUCCEEDED" else "failed"
        elif event.task_state in ("RUNNING", "WAITING"):
            self._where[event.execution_id] = _STAGES.get(event.task, "looking up")

    def _show(self, counts: Counter[str], *, is_last: bool) -> None:
        now = time.monotonic()
        if not is_last and now - self._shown < (0.1 if self._is_live else 1.0):
            return
        self._shown = now
        share = counts["paid"] * _BAR // self._total
        columns = "   ".join(f"{name} {counts[name]:>4}" for name in _COLUMNS)
        line = f"  {now - self._since:5.1f} s [{'#' * share}{'.' * (_BAR - share)}] {columns}"
        print(f"\r{line}" if self._is_live else line, end="" if self._is_live and not is_last else "\n", flush=True)


def starts(employees: Sequence[str], sms_url: str) -> Iterator[list[tuple[str, object, StartOptions]]]:
    """Give what is started, a call at a time. An external id is taken for ever, so nobody's month is started twice."""
    every: list[tuple[str, object, StartOptions]] = [
        (
            "salary",
            {"employee_id": employee, "month": MONTH, "sms_url": sms_url},
            {"external_id": f"{MONTH}/{employee}", "business_key": employee, "tags": ["month-end"]},
        )
        for employee in employees
    ]
    for first in range(0, len(every), _CALL):
        yield every[first : first + _CALL]


def start_all(client: tradewind.Client, employees: Sequence[str], sms_url: str) -> set[str]:
    """Start the month of all employees; return the ids of the executions."""
    ids = set()
    for some in starts(employees, sms_url):
        for started in client.start_many(some):
            if isinstance(started, tradewind.TradewindError):
                raise started
            ids.add(started.id)
    return ids


def approve_all(address: str, user: str, *groups: str) -> list[str]:
    """Approve everything in somebody's inbox at once, each as it was seen; return the ids of the executions."""
    began = time.monotonic()
    with tradewind.connect(address, user=user, groups=groups) as client:
        seen = list(client.people.list("inbox", "workflow = salary"))
        results = client.people.submit_many(seen, "approve") if seen else []
    refused = [result for result in results if isinstance(result, tradewind.TradewindError)]
    seconds = time.monotonic() - began
    tell(f"  {user} approves {len(seen)} at once, in {seconds:.1f} s; {len(refused)} were refused")
    if refused:
        raise refused[0]
    return [item.execution_id for item in seen]


def paid_in_all(client: tradewind.Client) -> Decimal:
    """Add up what was paid, to the cent."""
    paid = client.executions("workflow = salary AND state = SUCCEEDED", full=True)
    return sum((Decimal(execution.output["total"]["amount"]) for execution in paid), Decimal(0))


def main() -> None:
    """Run the month."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    employees = [f"e-{1001 + number}" for number in range(count)]
    with open_house() as house, tradewind.connect(house.address) as client:
        tell(f"a server on SQLite, two workers in Python, a bonus worker in {house.bonus_language}")
        house.tradewind("deploy", "salary.yaml")
        began = time.monotonic()
        ids = start_all(client, employees, house.sms_url)
        tell(f"\n  {len(ids)} salaries of {MONTH} started in {time.monotonic() - began:.1f} s")
        board = Board(client, count, began)
        board.until_people_are_asked()
        board.decided(approve_all(house.address, "mira"))
        board.until_people_are_asked()
        board.decided(approve_all(house.address, "dora", "directors"))
        counts = board.until_people_are_asked()
        seconds = time.monotonic() - began
        tell(f"\n  {counts['paid']} of {count} are paid, {paid_in_all(client)} EUR in all, after {seconds:.1f} s")
        again = start_all(client, employees, house.sms_url)
        tell(f"  the whole month is started again by mistake: {len(again - ids)} new executions")
        tell()
        house.tradewind("count", "--by", "workflow,state")
        if counts["paid"] != count or again != ids:
            raise SystemExit("Expected everybody to be paid once.")


if __name__ == "__main__":
    main()

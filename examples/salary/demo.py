"""The salary process, shown in three acts: an approval, a failure with its SMS, a server that is killed.

On a terminal whoever sits there is the manager; if nobody does, the demo answers for him.
`make demo` runs it. Everything it starts ends with it, and what it writes is in a temporary folder.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from types import FrameType

from house import House, open_house, tell

import tradewind

#: Tasks of a salary whose bonus is approved at once.
PATH = ("fetch_base", "fetch_bonus", "compare", "find_manager", "approve_bonus", "compute_total", "pay_out")
MONTH = "2026-11"
MOST_SECONDS = 85
#: How long it waits for whoever sits here, who is asked three times at most.
ANSWER_SECONDS = 20

#: What somebody answers: what is said of it, and the command, to which the id of the human task is added.
Answer = tuple[str, tuple[str, ...]]
APPROVE: Answer = (
    "mira, the manager, is asked, and approves:",
    ("submit", "--outcome", "approve", "--user", "mira"),
)
RETURN: Answer = (
    "mira is asked, and returns it:",
    ("return", "--reason", "not 1995 but 199.50", "--user", "mira"),
)
CORRECT: Answer = (
    "carol, who entered the bonus, corrects it:",
    ("submit", "--outcome", "done", "--data", '{"amount": 199.50}', "--user", "carol"),
)
AS_DIRECTOR: Answer = (
    "it is a large bonus, so dora, a director, is asked as well, and approves:",
    ("submit", "--outcome", "approve", "--user", "dora", "--groups", "directors"),
)
MANAGER = "approve_bonus"


def is_interactive() -> bool:
    """Tell whether somebody sits here who can be the manager."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class People:
    """Those whom the process asks. The manager's answers are given in turn, the others' are always the same."""

    def __init__(self, house: House, client: tradewind.Client, *answers: Answer) -> None:
        self._house = house
        self._client = client
        self._answers = list(answers)
        self._others = {"correct_bonus": CORRECT, "approve_large_bonus": AS_DIRECTOR}

    def look(self, event: tradewind.Event) -> None:
        """Answer, if somebody is asked."""
        if event.type != "HumanTaskOffered":
            return
        open_ones = self._client.people.list("all", f'execution_id = "{event.execution_id}" AND state = OFFERED')
        asked = next(iter(open_ones))
        if event.task == MANAGER and is_interactive():
            tell(f"  you are mira, the manager, and are asked; after {ANSWER_SECONDS} s the demo answers:")
            if self._house.ask("task", "submit", asked.id, "--user", "mira", seconds=ANSWER_SECONDS):
                return
        said, (verb, *options) = self._others.get(event.task) or self._answers.pop(0)
        tell(f"  {said}")
        self._house.tradewind("task", verb, asked.id, *options)


def start(house: House, client: tradewind.Client, employee: str) -> str:
    """Start the salary of an employee. The external id is taken for ever: nobody's month is started twice."""
    given = {"employee_id": employee, "month": MONTH, "sms_url": house.sms_url}
    return client.start("salary", given, external_id=f"{MONTH}/{employee}", business_key=employee).id


def follow(
    client: tradewind.Client, execution_id: str, on_event: Callable[[tradewind.Event], None]
) -> tradewind.Execution:
    """Show the progress of an execution to its end."""
    done: set[str] = set()
    since: dict[str, datetime] = {}
    for event in client.watch(execution_id):
        if event.task_state in ("RUNNING", "WAITING"):
            since.setdefault(event.task, event.at)
        elif event.task_state in ("SUCCEEDED", "FAILED"):
            done |= {event.task} if event.task_state == "SUCCEEDED" else set()
            share = len(done.intersection(PATH)) * 3
            bar = f"[{'#' * share}{'.' * (len(PATH) * 3 - share)}]"
            seconds = (event.at - since.pop(event.task, event.at)).total_seconds()
            tell(f"  {bar} {event.task:<19} {event.task_state:<9} {seconds:4.1f} s   by {event.actor}")
        on_event(event)
    return client.get(execution_id)


def show_paid(execution: tradewind.Execution, total: str) -> None:
    """Show what was paid, and stop the demo if it is not *total*; whoever is the manager here decides that himself."""
    paid = execution.output or {}
    found = str(paid.get("total", {}).get("amount"))
    if execution.state != "SUCCEEDED" or (found != total and not is_interactive()):
        raise SystemExit(f"Expected {total} to be paid, but it is {execution.state} {found}: {execution.failure}")
    base, bonus, currency = paid["base"]["amount"], paid["bonus"]["amount"], paid["total"]["currency"]
    approved = f"approved by {' and '.join(paid['approved_by'])}" if paid["approved_by"] else f"{paid['decision']}ed"
    sum_ = f"{base} and a bonus of {bonus} {currency}, {approved}: {found} {currency}"
    tell(f"  SUCCEEDED: {sum_} paid as {paid['payment']['id']}")


def act_one(house: House, client: tradewind.Client) -> None:
    """A salary with a bonus that is approved."""
    tell("1. e-17: base and bonus in parallel, then the manager, then the money")
    people = People(house, client, APPROVE)
    execution_id = start(house, client, "e-17")
    show_paid(follow(client, execution_id, people.look), "4862.80")
    assert start(house, client, "e-17") == execution_id
    tell("  started once more by mistake: it is the same execution, and nothing is paid twice")


def act_two(house: House, client: tradewind.Client) -> None:
    """A salary whose accounting system fails."""
    tell("\n2. e-13: the accounting system fails, also when it is asked again; an SMS goes out")
    execution = follow(client, start(house, client, "e-13"), lambda event: None)
    tell(f"  {execution.state}: {execution.state_message or execution.failure}")
    if execution.state != "FAILED" or not house.told.wait(5):
        raise SystemExit("Expected a failure and an SMS about it.")


def act_three(house: House, client: tradewind.Client) -> None:
    """A salary during which the server is killed, and whose bonus is corrected."""
    tell("\n3. e-23: the server is killed while the accounting system works, and started again; the bonus is wrong")
    execution_id = start(house, client, "e-23")

    def crash() -> None:
        time.sleep(1)
        house.kill_server()
        tell("  kill -9: the server is gone, the workers and this watcher are not")
        time.sleep(1)
        house.start_server()
        tell("  the server is started again")

    crashing = threading.Thread(target=crash)
    crashing.start()
    execution = follow(client, execution_id, People(house, client, RETURN, APPROVE).look)
    crashing.join()
    show_paid(execution, "4179.55")
    house.tradewind("replay", execution_id)


def too_long(number: int, frame: FrameType | None) -> None:
    """End a demo that hangs."""
    raise SystemExit(f"Expected the demo to end within {MOST_SECONDS} s, but it did not.")


def main() -> None:
    """Run the demo."""
    signal.signal(signal.SIGALRM, too_long)
    if not is_interactive():
        signal.alarm(MOST_SECONDS)
    began = time.monotonic()
    with open_house() as house, tradewind.connect(house.address) as client:
        tell(f"a server on SQLite, two workers in Python, a bonus worker in {house.bonus_language}")
        house.tradewind("deploy", "salary.yaml")
        tell()
        act_one(house, client)
        act_two(house, client)
        act_three(house, client)
    tell(f"\nDone in {time.monotonic() - began:.0f} s. Try next:\n")
    tell("  make month-end                                          # 1,000 employees, one bulk approval")
    tell("\nor each in a terminal of its own:\n")
    tell("  .venv/bin/tradewind dev --allow-private-addresses       # a server that stays")
    tell("  .venv/bin/python examples/salary/accounting.py          # and: directory.py, bonus.py, sms_gateway.py")
    tell("  .venv/bin/tradewind deploy examples/salary/salary.yaml")
    tell('  .venv/bin/tradewind start salary --input \'{"employee_id": "e-17", "month": "2026-12"}\'')
    tell("  .venv/bin/tradewind inbox --user mira                   # and: tradewind task submit, with the id there")
    tell("\nexamples/salary/README.md explains the process, docs/quickstart.md makes one of your own.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\nThe demo was ended; so is all that it had started.") from None

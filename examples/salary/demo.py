"""The salary process, shown in three acts: an approval, a failure with its SMS, a server that is killed.

On a terminal whoever sits there is the manager; otherwise the demo answers for him.
`make demo` runs it. Everything it starts ends with it, and what it writes is in a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType

import tradewind

HERE = Path(__file__).resolve().parent
STEPS = 5  # tasks of a salary that goes well
MOST_SECONDS = 85
MANAGER = ("--user", "mira", "--groups", "managers")


def tell(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


class House:
    """The programs of the demo: the server, two workers and the SMS gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.sms_port = free_port()
        self.bonus_language = ""
        self.told = threading.Event()
        self.server: subprocess.Popen[str] | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._environment = {
            **os.environ,
            "TRADEWIND_ADDRESS": self.address,
            # The SMS gateway is on this machine; otherwise std.http would refuse to call it.
            "TRADEWIND_ALLOW_PRIVATE_ADDRESSES": "true",
            "PYTHONUNBUFFERED": "1",
        }

    def open(self) -> None:
        """Start all programs."""
        bonus = self._bonus_command()
        self.start_server()
        self._start("accounting", sys.executable, str(HERE / "accounting.py"), self.address)
        self._start("bonus", *bonus, self.address)
        gateway = self._start("sms", sys.executable, str(HERE / "sms_gateway.py"), str(self.sms_port), piped=True)
        threading.Thread(target=self._show_messages, args=(gateway,), daemon=True).start()

    def _bonus_command(self) -> tuple[str, ...]:
        go = shutil.which("go")
        if go is None:
            self.bonus_language = "Python, as there is no Go on this machine"
            return sys.executable, str(HERE / "bonus.py")
        tell("building the Go worker (the first time takes a while)")
        program = str(self.folder / "bonus")
        try:
            subprocess.run([go, "build", "-o", program, "."], cwd=HERE / "bonus", check=True, timeout=40)
        except (subprocess.SubprocessError, OSError):
            self.bonus_language = "Python, as the Go worker could not be built in time"
            return sys.executable, str(HERE / "bonus.py")
        self.bonus_language = "Go"
        return (program,)

    def start_server(self) -> None:
        """Start the server on its SQLite file, which may be there already."""
        database = str(self.folder / "salary.db")
        command = (sys.executable, "-m", "tradewind_server.cli", "server", "--listen", self.address)
        self.server = self._start("server", *command, "--database", database)

    def kill_server(self) -> None:
        """Kill the server as a power cut would."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def tradewind(self, *arguments: str) -> None:
        """Run a command and show it."""
        shown = " ".join(f"'{item}'" if " " in item else item for item in arguments)
        tell(f"  $ tradewind {shown}")
        command = [sys.executable, "-m", "tradewind_server.cli", *arguments]
        done = subprocess.run(command, env=self._environment, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            tell(f"    {line}")

    def ask(self, *arguments: str) -> None:
        """Run a command that asks whoever sits here."""
        subprocess.run([sys.executable, "-m", "tradewind_server.cli", *arguments], env=self._environment, check=True)

    def _start(self, name: str, *command: str, piped: bool = False) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("a") as log:
            output = subprocess.PIPE if piped else log
            process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=log, text=True)
        self._processes.append(process)
        return process

    def _show_messages(self, gateway: subprocess.Popen[str]) -> None:
        assert gateway.stdout is not None
        for line in gateway.stdout:
            tell(f"  >>> {line.rstrip()}")
            self.told.set()

    def close(self) -> None:
        """End all programs."""
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def show_logs(self) -> None:
        """Say what the programs said, after something went wrong."""
        for log in sorted(self.folder.glob("*.log")):
            tell(f"--- {log.name}")
            tell(log.read_text()[-4000:])


def is_interactive() -> bool:
    """Tell whether somebody sits here who can be the manager."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def start(house: House, client: tradewind.Client, employee: str) -> str:
    """Start the salary of an employee."""
    sms_url = f"http://127.0.0.1:{house.sms_port}/messages"
    given = {"employee_id": employee, "month": "2026-11", "sms_url": sms_url}
    return client.start("salary", given, business_key=f"{employee}/2026-11").id


def follow(
    client: tradewind.Client, execution_id: str, on_task: Callable[[tradewind.Event], None]
) -> tradewind.Execution:
    """Show the progress of an execution to its end."""
    done = 0
    since: dict[str, datetime] = {}
    for event in client.watch(execution_id):
        if event.task_state in ("RUNNING", "WAITING"):
            since.setdefault(event.task, event.at)
            on_task(event)
        elif event.task_state in ("SUCCEEDED", "FAILED"):
            done += event.task_state == "SUCCEEDED"
            seconds = (event.at - since.get(event.task, event.at)).total_seconds()
            bar = f"[{'#' * (done * 4)}{'.' * ((STEPS - done) * 4)}]"
            tell(f"  {bar} {event.task:<18} {event.task_state:<9} {seconds:4.1f} s   by {event.actor}")
    return client.get(execution_id)


def approve_when_asked(house: House, client: tradewind.Client) -> Callable[[tradewind.Event], None]:
    """Return what the manager does: approve as soon as the process asks."""

    def look(event: tradewind.Event) -> None:
        if event.task == "approve_bonus" and event.task_state == "RUNNING":
            found = client.people.list("all", f'execution_id = "{event.execution_id}"')
            asked = next(iter(found)).id
            if is_interactive():
                tell("  you are the manager, and are asked:")
                house.ask("task", "submit", asked, *MANAGER)
            else:
                tell("  the manager is asked, and approves:")
                house.tradewind("task", "submit", asked, "--outcome", "approve", *MANAGER)

    return look


def expect(execution: tradewind.Execution, state: str, total: str = "") -> None:
    """Show how an execution ended, and stop the demo if it should have ended otherwise."""
    output = execution.output or {}
    found = str(output.get("total", ""))
    if execution.state != state or found != total:
        raise SystemExit(f"Expected {state} {total}, but it is {execution.state} {found}: {execution.failure}")
    if total:
        tell(f"  {state}: {output['base']} + {output['bonus']} = {output['total']} paid as {output['payment']['id']}")
    else:
        tell(f"  {state}: {execution.failure.message if execution.failure else execution.state_message}")


def act_one(house: House, client: tradewind.Client) -> None:
    """A salary with a bonus that is approved."""
    tell("1. e-17: base and bonus in parallel, then the manager, then the money")
    execution = follow(client, start(house, client, "e-17"), approve_when_asked(house, client))
    expect(execution, "SUCCEEDED", "4862.80")


def act_two(house: House, client: tradewind.Client) -> None:
    """A salary whose accounting system fails."""
    tell("\n2. e-13: the accounting system fails, also when it is asked again; an SMS goes out")
    execution = follow(client, start(house, client, "e-13"), lambda event: None)
    expect(execution, "FAILED")
    if not house.told.wait(5):
        raise SystemExit("Expected an SMS, but there is none.")


def act_three(house: House, client: tradewind.Client) -> None:
    """A salary during which the server is killed."""
    tell("\n3. e-23: the server is killed while the accounting system works, and started again")
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
    execution = follow(client, execution_id, approve_when_asked(house, client))
    crashing.join()
    expect(execution, "SUCCEEDED", "3981.00")
    house.tradewind("replay", execution_id)


@contextlib.contextmanager
def house_in(folder: Path) -> Iterator[House]:
    """Open the house, and close it whatever happens."""
    house = House(folder)
    try:
        house.open()
        yield house
    except BaseException:
        house.show_logs()
        raise
    finally:
        house.close()


def too_long(number: int, frame: FrameType | None) -> None:
    """End a demo that hangs."""
    raise SystemExit(f"Expected the demo to end within {MOST_SECONDS} s, but it did not.")


def main() -> None:
    """Run the demo."""
    signal.signal(signal.SIGALRM, too_long)
    if not is_interactive():
        signal.alarm(MOST_SECONDS)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tradewind-demo-") as folder, house_in(Path(folder)) as house:
        tell(f"a server on SQLite, an accounting worker in Python, a bonus worker in {house.bonus_language}")
        with tradewind.connect(house.address) as client:
            client.server_info()
            house.tradewind("deploy", "salary.yaml")
            tell()
            act_one(house, client)
            act_two(house, client)
            act_three(house, client)
    tell(f"\nDone in {time.monotonic() - began:.0f} s. Try next, each in a terminal of its own:\n")
    tell("  .venv/bin/tradewind dev --allow-private-addresses       # a server that stays")
    tell("  .venv/bin/python examples/salary/accounting.py          # and the workers: bonus.py, sms_gateway.py")
    tell("  .venv/bin/tradewind deploy examples/salary/salary.yaml")
    tell('  .venv/bin/tradewind start salary --input \'{"employee_id": "e-17", "month": "2026-12"}\'')
    tell("  .venv/bin/tradewind watch ID                            # the id that start printed")
    tell("\nexamples/salary/README.md explains the process, docs/quickstart.md makes one of your own.")


if __name__ == "__main__":
    main()

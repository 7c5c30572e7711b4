"""Make docs/watch.svg: what `tradewind watch` shows of the salary process while it waits for the manager.

A real server, real workers, the real picture. Ids and durations differ each time, so nothing compares it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

import tradewind
from tradewind_server.cli.picture import execution_picture, gather, progress_picture

ROOT = Path(__file__).resolve().parent.parent
SALARY = ROOT / "examples" / "salary"
PICTURE = ROOT / "docs" / "watch.svg"


def main() -> None:
    """Run the process until it waits, and draw it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = ("-m", "tradewind_server.cli", "server", "--listen", address, "--database", "")
    programs = (server, *((str(SALARY / f"{name}.py"), address) for name in ("accounting", "bonus", "directory")))
    running = [subprocess.Popen([sys.executable, *arguments], env=os.environ) for arguments in programs]
    try:
        PICTURE.write_text(draw(address))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def draw(address: str) -> str:
    """Return the picture as SVG."""
    with tradewind.connect(address) as client:
        client.deploy(SALARY / "salary.yaml")
        given = {"employee_id": "e-17", "month": "2026-11"}
        execution_id = client.start("salary", given, external_id="2026-11/e-17", business_key="e-17").id
        for event in client.watch(execution_id):
            if event.task == "approve_bonus" and event.task_state == "RUNNING":
                break
        view = gather(client, execution_id)
    console = Console(record=True, width=112, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    command = Text.assemble(("$ ", "dim"), f"tradewind watch {execution_id}")
    console.print(Group(command, execution_picture(view), Text(), progress_picture(view)))
    svg = console.export_svg(title="tradewind watch", unique_id="watch")
    # the fonts of the reader's machine: no picture of ours calls a foreign host
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)


if __name__ == "__main__":
    main()

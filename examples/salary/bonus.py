"""The bonus system in Python, for machines without Go; bonus/ is the same made from the generated stubs alone.

Run it with `python bonus.py [ADDRESS]`.
"""

import sys
from decimal import Decimal

import tradewind

BONUSES = {"e-17": Decimal("612.30"), "e-23": Decimal("0.95")}

worker = tradewind.Worker(
    tradewind.connect(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7233"), worker_id="bonus-python"
)


@worker.action("bonus.get")
def get(employee_id: str, month: str) -> dict[str, object]:
    """Look up the bonus of an employee; most have none."""
    return {"amount": BONUSES.get(employee_id, Decimal("0.00"))}


if __name__ == "__main__":
    worker.run()

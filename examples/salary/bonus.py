"""The bonus system in Python, for machines without Go; bonus/ is the same made from the generated stubs alone.

Run it with `python bonus.py [ADDRESS]`.
"""

import sys
from decimal import Decimal

import tradewind

BONUSES = {"e-17": Decimal("612.30"), "e-23": Decimal("1995.00")}

#: Enters bonuses, and corrects them where they are returned.
CLERK = "carol"

worker = tradewind.Worker(
    tradewind.connect(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7233"), worker_id="bonus-python"
)


@worker.action("bonus.get", inline=True)
def get(employee_id: str, month: str) -> dict[str, object]:
    """Look up the bonus of an employee, and who entered it."""
    amount = BONUSES.get(employee_id) or of_the_plant(employee_id)
    return {"bonus": {"amount": amount, "currency": "EUR"}, "entered_by": CLERK if amount else None}


def of_the_plant(employee_id: str) -> Decimal:
    """Return the bonus of e-1001 to e-2000: two in five have none, one in twenty has a large one."""
    digits = employee_id.removeprefix("e-")
    number = int(digits) if len(digits) == 4 and digits.isdecimal() else 0
    if number % 5 < 2:
        return Decimal("0.00")
    return Decimal(150_000 + number if number % 20 == 7 else 20_000 + number).scaleb(-2)


if __name__ == "__main__":
    worker.run()

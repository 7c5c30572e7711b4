"""The accounting system, as an action worker: it knows salaries and pays them out.

Run it with `python accounting.py [ADDRESS]`.
"""

import sys
import threading
from decimal import Decimal

import tradewind

SALARIES = {"e-17": Decimal("4250.50"), "e-23": Decimal("3980.05"), "e-31": Decimal("3120.00")}

#: How long it takes to look somebody up, as such systems do.
SECONDS = {"e-17": 0.5, "e-23": 3.0}

#: An employee whose record is out of order, so that one can see what a failure does.
BROKEN = "e-13"

worker = tradewind.Worker(
    tradewind.connect(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7233"), worker_id="accounting"
)

# A real system would keep both in its database, in one transaction: the payment, and under which key it was asked for.
_paid: dict[tuple[str, str], tuple[str, dict[str, object]]] = {}
_lock = threading.Lock()


@worker.action("accounting.salary")
def salary(employee_id: str, month: str, context: tradewind.ActionContext) -> dict[str, object]:
    """Look up what an employee earns."""
    if employee_id == BROKEN:
        raise tradewind.ActionFailed("ACCOUNTING_DOWN", f"The ledger of {month} is locked.")
    amount = SALARIES.get(employee_id) or of_the_plant(employee_id)
    context.wait_cancelled(SECONDS.get(employee_id, 0))
    return {"amount": amount, "currency": "EUR"}


def of_the_plant(employee_id: str) -> Decimal:
    """Return what e-1001 to e-2000 earn, who work in the plant."""
    number = employee_id.removeprefix("e-")
    if not number.isdecimal() or not 1001 <= int(number) <= 2000:
        raise tradewind.ActionFailed("UNKNOWN_EMPLOYEE", f"There is no employee {employee_id}.", retryable=False)
    return Decimal("2000.05") + int(number)


@worker.action("accounting.pay")
def pay(
    employee_id: str, month: str, amount: Decimal, currency: str, context: tradewind.ActionContext
) -> dict[str, object]:
    """Pay once, however often it is asked: the idempotency key stays the same over all attempts.

    Another process for the same month has another key, and is refused.
    """
    with _lock:
        receipt = {"id": f"P-{len(_paid) + 1:04d}", "amount": amount, "currency": currency}
        key, known = _paid.setdefault((employee_id, month), (context.idempotency_key, receipt))
    if key != context.idempotency_key:
        raise tradewind.ActionFailed(
            "ALREADY_PAID", f"{employee_id} was paid for {month} as {known['id']}.", retryable=False
        )
    return known


if __name__ == "__main__":
    worker.run()

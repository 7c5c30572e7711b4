"""The accounting system, as an action worker: it knows salaries and pays them out.

Run it with `python accounting.py [ADDRESS]`.
"""

import sys
import threading
from decimal import Decimal

import tradewind

SALARIES = {"e-17": Decimal("4250.50"), "e-23": Decimal("3980.05")}

#: An employee whose record is out of order, so that one can see what a failure does.
BROKEN = "e-13"

worker = tradewind.Worker(
    tradewind.connect(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7233"), worker_id="accounting"
)

# A real system would keep both in its database: the key beside the payment, in one transaction.
_paid: dict[str, dict[str, object]] = {}
_lock = threading.Lock()


@worker.action("accounting.salary")
def salary(employee_id: str, month: str, context: tradewind.ActionContext) -> dict[str, object]:
    """Look up what an employee earns; it takes a while, as such systems do."""
    if employee_id == BROKEN:
        raise tradewind.ActionFailed("ACCOUNTING_DOWN", f"The ledger of {month} is locked.")
    if employee_id not in SALARIES:
        raise tradewind.ActionFailed("UNKNOWN_EMPLOYEE", f"There is no employee {employee_id}.", retryable=False)
    context.wait_cancelled(3.0 if employee_id == "e-23" else 0.5)
    return {"amount": SALARIES[employee_id], "currency": "EUR"}


@worker.action("accounting.pay")
def pay(employee_id: str, month: str, amount: Decimal, context: tradewind.ActionContext) -> dict[str, object]:
    """Pay once, however often it is asked: the idempotency key stays the same over all attempts."""
    with _lock:
        receipt = {"id": f"P-{len(_paid) + 1:04d}", "amount": amount}
        return _paid.setdefault(context.idempotency_key, receipt)


if __name__ == "__main__":
    worker.run()

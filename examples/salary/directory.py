"""The staff directory, as an action worker: it knows who manages whom today.

Run it with `python directory.py [ADDRESS]`.
"""

import sys

import tradewind

#: Department -> who manages it, and who is head of that manager.
DEPARTMENTS = {"sales": ("mira", "hugo"), "plant": ("mira", "hugo"), "payroll": ("noor", "hugo")}
PEOPLE = {"e-13": "sales", "e-17": "sales", "e-23": "sales", "e-31": "payroll"}

worker = tradewind.Worker(
    tradewind.connect(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7233"), worker_id="directory"
)


@worker.action("directory.manager_of", inline=True)
def manager_of(employee_id: str) -> dict[str, object]:
    """Look up who manages an employee now; e-1001 and on work in the plant."""
    department = PEOPLE.get(employee_id, "plant" if len(employee_id) > 4 else "")
    if not department:
        raise tradewind.ActionFailed("UNKNOWN_EMPLOYEE", f"There is no employee {employee_id}.", retryable=False)
    manager, head = DEPARTMENTS[department]
    return {"manager": manager, "head": head}


if __name__ == "__main__":
    worker.run()

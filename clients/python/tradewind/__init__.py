"""The Python client of Tradewind: start and watch processes, and do their work.

`tradewind.connect()` gives a `Client`, `tradewind.aio.connect()` the same for asyncio, `Worker` does actions.
`tradewind.v1` holds the generated messages and stubs.
"""

from tradewind import aio, errors
from tradewind.actions import ActionContext, ActionFailed
from tradewind.client import Client, connect
from tradewind.connection import Connection, Tls
from tradewind.errors import TradewindError
from tradewind.models import Event, Execution, Failure, LogUpdate, Task, Update, Webhook
from tradewind.tracing import traced, traceparent
from tradewind.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "ActionContext",
    "ActionFailed",
    "Client",
    "Connection",
    "Event",
    "Execution",
    "Failure",
    "LogUpdate",
    "Task",
    "Tls",
    "TradewindError",
    "Update",
    "Webhook",
    "Worker",
    "aio",
    "connect",
    "errors",
    "traced",
    "traceparent",
]

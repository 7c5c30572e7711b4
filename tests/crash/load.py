"""The processes that load the servers, each with a log: a line before it sends, a line after the reply.

`python -m tests.crash.load client|worker|poller|watcher ADDRESSES LOG SEED`; SIGTERM lets it finish what it has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tradewind import ActionContext, Connection, TradewindError, Worker, aio, errors, values
from tradewind import worker as worker_module
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import action_callback_pb2_grpc
from tradewind.work_session import Held, WorkSession

#: Executions that a client has open at the same time: so many that a kill at any moment meets commands in flight.
OPEN = 128
#: Longest time that an action takes, seconds.
LONGEST_ACTION = 0.04
#: A call is repeated for this long: servers are down for a second at a time.
PATIENCE = 120.0
#: The last workflow of a run: watchers that have seen it end have seen everything.
LAST = "crash.last"
#: After each update a watcher gives its stream up with this chance, and goes on by the cursor; or does not read.
_GIVE_UP_CHANCE = 0.02
_STARVE_CHANCE = 0.01
#: Share of the executions that are watched one by one as well.
_WATCHED_SHARE = 0.05


class Log:
    """JSON lines, each written at once, so that a killed process loses none."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, what: str, key: str, value: object = None) -> None:
        """Write one line."""
        line = {"at": time.monotonic(), "what": what, "key": key, "value": value}
        os.write(self._file, json.dumps(line).encode() + b"\n")


# --- the client ----------------------------------------------------------------------------------


async def client(addresses: list[str], log: Log, seed: str) -> None:
    """Start executions and wait for each, until told to stop."""
    rng = random.Random(seed)
    stop = _stop_event()
    async with aio.connect(addresses, patience=PATIENCE) as calls:

        async def one_after_another(number: int) -> None:
            while not stop.is_set():
                n = rng.randrange(1_000_000)
                request_id = f"{seed}-{number}-{rng.randrange(1 << 48):x}"
                log.write("start-sent", request_id, n)
                execution = await _start(calls, n, request_id)
                log.write("start-acknowledged", request_id, execution.id)
                ended = await _wait(calls, execution.id)
                log.write("end-seen", execution.id, [ended.state, ended.output])
                await asyncio.sleep(rng.uniform(0, 0.05))

        await asyncio.gather(*map(one_after_another, range(OPEN)))


async def _start(calls: aio.Client, n: int, request_id: str) -> Any:
    while True:
        # the client gives up after half a minute; the same request id makes it safe to go on
        with contextlib.suppress(errors.Unavailable, errors.DeadlineExceeded):
            return await calls.start("crash.order", {"n": n}, request_id=request_id)


async def _wait(calls: aio.Client, id_: str) -> Any:
    while True:
        with contextlib.suppress(errors.Unavailable, errors.DeadlineExceeded):
            return await calls.wait(id_)


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


# --- the worker on the Python client -------------------------------------------------------------


class LoggedSession(WorkSession):
    """The client's own session, and a log of what it sends and hears."""

    log: Log
    keys: dict[bytes, str]

    def hold(self, offer: v1.Offer, now: float) -> Held:
        """Remember whose token it is."""
        self.keys[offer.token] = offer.idempotency_key
        return super().hold(offer, now)

    def outgoing(self, now: float) -> Iterator[v1.WorkRequest]:
        """Log results before they are sent."""
        for request in super().outgoing(now):
            for result in request.results.results:
                sent = values.from_payload(result.result)
                self.log.write("result-sent", self.keys[result.token], [result.token.hex(), sent])
            yield request

    def receive(self, receipt: v1.Receipt, now: float) -> None:
        """Log receipts; one that says "later" is no answer yet, and after a reconnect there may be none."""
        status = v1.ReceiptStatus.Name(receipt.status).removeprefix("RECEIPT_STATUS_")
        if not receipt.refusal.HasField("retry_after"):
            said = f"{status} {receipt.refusal.reason}" if status == "REFUSED" else status
            self.log.write("result-answered", self.keys[receipt.token], [receipt.token.hex(), said])
        super().receive(receipt, now)


async def worker(addresses: list[str], log: Log, seed: str) -> None:
    """Do actions until told to stop."""
    rng = random.Random(seed)
    LoggedSession.log, LoggedSession.keys = log, {}
    vars(worker_module)["WorkSession"] = LoggedSession
    serving = Worker(aio.Client(Connection.of(addresses)), worker_id=seed, concurrency=64)

    @serving.action("crash.add")
    async def add(a: int, b: int, context: ActionContext) -> dict[str, Any]:
        await asyncio.sleep(rng.uniform(0, LONGEST_ACTION))
        return {"sum": a + b, "by": f"{seed}/{rng.randrange(1 << 48):x}", "attempt": context.attempt}

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.stop)
    await serving.serve()


# --- the worker of bare stubs --------------------------------------------------------------------


async def poller(addresses: list[str], log: Log, seed: str) -> None:
    """Do actions with the unary methods, one at a time."""
    rng = random.Random(seed)
    stop = _stop_event()
    connection = Connection.of(addresses)
    async with grpc.aio.insecure_channel(connection.target, options=connection.options) as channel:
        stub = action_callback_pb2_grpc.ActionCallbackStub(channel)
        poll = v1.PollActionsRequest(
            worker_id=seed, actions=[v1.ActionCapability(name="crash.add")], max_actions=1, wait=Duration(seconds=1)
        )
        while not stop.is_set():
            try:
                offered = await stub.PollActions(poll, timeout=5)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
                continue
            for offer in offered.offers:
                await asyncio.sleep(rng.uniform(0, LONGEST_ACTION))
                await _complete(stub, offer, log, f"{seed}/{rng.randrange(1 << 48):x}")


async def _complete(stub: Any, offer: v1.Offer, log: Log, mark: str) -> None:
    given = values.from_payload(offer.input)
    result = {"sum": given["a"] + given["b"], "by": mark, "attempt": offer.attempt}
    request = v1.CompleteActionRequest(token=offer.token, result=values.to_payload(result))
    key, token = offer.idempotency_key, offer.token.hex()
    log.write("result-sent", key, [token, result])
    while True:
        try:
            answer = await stub.CompleteAction(request, timeout=5)
        except grpc.aio.AioRpcError as broken:
            error: TradewindError = errors.from_rpc_error(broken)
            if isinstance(error, errors.Unavailable | errors.DeadlineExceeded | errors.Exhausted):
                await asyncio.sleep(0.1)
                continue
            log.write("result-answered", key, [token, error.reason])
            return
        log.write("result-answered", key, [token, v1.ReceiptStatus.Name(answer.status).removeprefix("RECEIPT_STATUS_")])
        return


# --- the watchers --------------------------------------------------------------------------------


async def watcher(addresses: list[str], log: Log, seed: str) -> None:
    """Follow the namespace from the beginning to the last execution, and some executions one by one."""
    rng = random.Random(seed)
    async with aio.connect(addresses, patience=PATIENCE) as calls, asyncio.TaskGroup() as group:
        cursor = ""
        while True:
            start: dict[str, Any] = {"cursor": cursor} if cursor else {"from_beginning": True}
            log.write("watch-opened", seed)
            updates = calls.watch_events(**start)
            async for update in updates:
                cursor = update.cursor
                log.write("seen", seed, [[event.execution_id, event.revision] for event in update.events])
                for event in update.events:
                    if event.type == "ExecutionStarted" and rng.random() < _WATCHED_SHARE:
                        group.create_task(_watch_one(calls, event.execution_id, log, seed))
                    if event.type == "ExecutionSucceeded" and event.proto.workflow == LAST:
                        return
                if rng.random() < _STARVE_CHANCE:
                    await asyncio.sleep(rng.uniform(0, 1))
                if rng.random() < _GIVE_UP_CHANCE:
                    break


async def _watch_one(calls: aio.Client, id_: str, log: Log, seed: str) -> None:
    async for event in calls.watch(id_):
        log.write("seen", f"{seed}/{id_}", [[id_, event.revision]])


if __name__ == "__main__":
    role, given_addresses, path, name = sys.argv[1:]
    play = {"client": client, "worker": worker, "poller": poller, "watcher": watcher}[role]
    asyncio.run(play(given_addresses.split(","), Log(path), name))

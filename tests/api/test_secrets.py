"""Secrets: workers get the value; nothing else ever shows it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import Hand, Served, serving
from tests.cli import command_line
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.actions.ssh import SshAction
from tradewind_server.lang.references import reference

CANARY = 'canary-"7"-7b1f'
#: As it stands in JSON.
NEEDLES = (CANARY, "canary-", 'canary-\\"7')

TEXT = """
version: '2.0'
leaky:
  vars: {token: <% secret('api.token') %>}
  output: {built_in: <% $.get(built_in) %>, error: <% $.get(error) %>, shown: <% $.token %>}
  tasks:
    worker:
      action: shop.do
      input: {header: "Bearer <% $.token %>", nested: {list: ["{{ secret('api.token') }}"]}}
      on-error: built_in
      publish-on-error: {error: <% task().result %>}
    built_in:
      action: std.echo output="<% $.token %>"
      publish: {built_in: <% task().result %>}
      on-success: script
    script:
      action: std.js
      input: {script: "throw new Error($)", context: <% secret('api.token') %>}
      on-error: noop
"""

MISSING = """
version: '2.0'
missing:
  output: {error: <% $.get(error) %>}
  tasks:
    t:
      action: shop.do x=<% secret('nowhere') %>
      on-error: sorry
      publish-on-error: {error: <% task().result %>}
    sorry: {action: std.noop}
built_in_missing:
  output: {error: <% $.get(error) %>}
  tasks:
    t:
      action: std.echo output=<% secret('nowhere') %>
      publish-on-error: {error: <% task().result %>}
      on-error: noop
"""

NOWHERE = "There is no secret 'nowhere' on this server."


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the server a secret."""
    monkeypatch.setenv("TRADEWIND_SECRET_API_TOKEN", CANARY)


async def _work(hand: Hand) -> Any:
    """Take an offer, and put its secret into everything that a worker can send."""
    offer = await hand.offer()
    given: Any = values.decode(offer.input.data)
    beat = v1.ActionBeat(token=offer.token, progress_message=f"using {CANARY}")
    beat.checkpoint.CopyFrom(values.to_payload({"at": CANARY}))
    await hand.send(beat=v1.Beat(actions=[beat]))
    outcome = v1.ActionResult(token=offer.token)
    outcome.failure.code, outcome.failure.message = f"E-{CANARY}", f"wrong {CANARY}"
    outcome.failure.details.CopyFrom(values.to_payload({"echo": given}))
    await hand.send(results=v1.Results(results=[outcome]))
    assert await hand.receipt() == ("RECORDED", "")
    return given


async def _seen(served: Served, id_: str) -> str:
    """Return all that readers and watchers get of an execution, also on the command line."""
    streamed = [message async for message in served.watch(id_)]
    history = await served.executions.ListEvents(pb.ListEventsRequest(execution_id=id_, page_size=1000))
    tasks = await served.executions.ListTasks(pb.ListTasksRequest(execution_id=id_))
    actions = await served.executions.ListActions(pb.ListActionsRequest(execution_id=id_))
    shown = [*streamed, history, tasks, actions, await served.get(id_)]
    for command in (("show", id_), ("history", id_), ("history", id_, "--json"), ("actions", "list"), ("watch", id_)):
        done = await asyncio.to_thread(command_line.tradewind, *command, "--address", served.address)
        assert done.returncode == 0, done
        shown.append(done.stdout + done.stderr)
    return "\n".join(part.decode() if isinstance(part, bytes) else str(part) for part in shown)


@pytest.mark.slow
async def test_secret_is_nowhere_but_at_the_worker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the file of the database, the log, a watch, the history or the command line."""
    caplog.set_level(logging.DEBUG)
    database = tmp_path / "tradewind.db"
    async with serving(str(database)) as served:
        await served.deploy(TEXT)
        id_ = await served.start("leaky", {})
        async with served.worker() as hand:
            given = await _work(hand)
        state, output = await served.ended(id_)
        seen = await _seen(served, id_)
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert given == {"header": f"Bearer {CANARY}", "nested": {"list": [CANARY]}}
    shown = reference("api.token")
    masked = {"echo": {"header": "Bearer ***", "nested": {"list": ["***"]}}}
    assert (state, output) == ("SUCCEEDED", {"built_in": "***", "error": masked, "shown": shown})
    assert "secret('api.token')" in seen
    assert b"secret('api.token')" in stored
    for needle in NEEDLES:
        assert needle not in seen
        assert needle.encode() not in stored
        assert needle not in caplog.text


async def test_poll_gives_the_secret_too(served: Served) -> None:
    """The unary worker gets what the streaming one gets."""
    await served.deploy(TEXT)
    await served.start("leaky", {})

    [offer] = await served.poll()

    assert values.decode(offer.input.data) == {"header": f"Bearer {CANARY}", "nested": {"list": [CANARY]}}
    await served.complete(offer.token, CANARY)
    assert values.from_payload((await served.until(offer.execution_id, "ActionSucceeded")).body)["result"] == "***"


async def test_unknown_secret_fails_the_action(served: Served) -> None:
    """It takes its on-error, and the worker keeps its room."""
    await served.deploy(MISSING)
    async with served.worker(credits_=1) as hand:
        id_ = await served.start("missing", {})
        assert await served.ended(id_) == ("SUCCEEDED", {"error": NOWHERE})
        assert hand.is_quiet()
        one = await served.start("one")
        await hand.finish((await hand.offer()).token, "r")
        assert await served.ended(one) == ("SUCCEEDED", {"r": "r"})
    failed = await served.until(id_, "ActionFailed")
    body: Any = values.from_payload(failed.body)
    assert (body["kind"], body["code"], body["retryable"]) == ("NOT_DELIVERABLE", "SECRET_NOT_FOUND", False)


async def test_room_of_an_unknown_secret_goes_to_what_waits(served: Served) -> None:
    """A worker with room for one gets the action behind it, without asking again."""
    await served.deploy(MISSING)
    missing, one = await served.start("missing", {}), await served.start("one")
    async with served.worker(credits_=1) as hand:
        await hand.finish((await hand.offer()).token, "r")
        assert await served.ended(one) == ("SUCCEEDED", {"r": "r"})
    assert (await served.ended(missing))[0] == "SUCCEEDED"


async def test_unknown_secret_fails_a_polled_and_a_built_in_action(served: Served) -> None:
    """Alike."""
    await served.deploy(MISSING)
    polled, built_in = await served.start("missing", {}), await served.start("built_in_missing", {})

    assert await served.poll() == []

    assert await served.ended(polled) == ("SUCCEEDED", {"error": NOWHERE})
    assert await served.ended(built_in) == ("SUCCEEDED", {"error": NOWHERE})


FORGED = reference("api.token")

FORWARD = """
version: '2.0'
forward:
  input: [data]
  tasks:
    first:
      action: shop.do data=<% $.data %> env=<% env() %>
      publish: {told: <% task().result %>}
      on-complete: second
    second: {action: shop.do told=<% task(first).result %>}
"""


@pytest.mark.parametrize("escaped", [False, True], ids=["raw", "escaped"])
async def test_data_is_never_taken_for_a_reference(escaped: bool) -> None:
    """Neither an input, nor an environment, nor a result, nor the message of a failure; escaped as JSON or not."""
    data = values.encode({"data": FORGED})
    if escaped:
        data = data.decode().encode("ascii", "backslashreplace")
    harmless = "\ufffdsecret('api.token')\ufffd"
    async with serving("") as served:
        await served.deploy(FORWARD)
        request = pb.StartExecutionRequest(workflow="forward")
        request.input.data = data
        request.env.data = data
        for fails in (False, True):
            await served.executions.StartExecution(request)
            async with served.worker() as hand:
                first = await hand.offer()
                assert values.decode(first.input.data) == {"data": harmless, "env": {"data": harmless}}
                if fails:
                    await hand.fail(first.token, "E", FORGED)
                else:
                    await hand.finish(first.token, FORGED)
                second = await hand.offer()
                assert values.decode(second.input.data) == {"told": harmless}
                await hand.finish(second.token)
                assert [await hand.receipt(), await hand.receipt()] == [("RECORDED", "")] * 2


async def test_script_cannot_forge_a_reference(served: Served) -> None:
    """A built-in action's result comes from outside too."""
    await served.deploy(
        """
version: '2.0'
forge:
  output: {echo: <% $.echo %>}
  tasks:
    script:
      action: std.js
      input:
        script: return String.fromCharCode(0xfdd0) + "secret('api.token')" + String.fromCharCode(0xfdd1)
      publish: {made: <% task().result %>}
      on-success: echo
    echo: {action: std.echo output=<% $.made %>, publish: {echo: <% task().result %>}}
"""
    )

    assert await served.ended(await served.start("forge", {})) == (
        "SUCCEEDED",
        {"echo": "\ufffdsecret('api.token')\ufffd"},
    )


async def test_failure_of_the_server_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An action that ends in an error of ours fails, instead of running for ever; the log has the place alone."""

    async def broken(self: SshAction, given: object) -> object:
        raise RuntimeError(f"cannot deal with {given}")

    monkeypatch.setattr(SshAction, "run", broken)
    async with serving("") as served:
        await served.deploy(
            """
version: '2.0'
broken:
  tasks:
    t: {action: std.ssh, input: {cmd: x, host: h, username: u, password: <% secret('api.token') %>}}
"""
        )
        id_ = await served.start("broken", {})
        failed: Any = values.from_payload((await served.until(id_, "ActionFailed")).body)
        await served.follow(id_)

    assert (failed["code"], failed["message"]) == ("INTERNAL", "The server failed; its log says why.")
    assert "std.ssh failed with RuntimeError" in caplog.text
    assert "in broken" in caplog.text
    assert "canary" not in caplog.text


async def test_sub_workflow_gets_the_reference(served: Served) -> None:
    """And its action the value."""
    await served.deploy(
        """
version: '2.0'
parent:
  output: {told: <% $.told %>}
  tasks:
    t:
      workflow: child token=<% secret('api.token') %>
      publish: {told: <% task().result.token %>}
child:
  input: [token]
  output: {token: <% $.token %>}
  tasks:
    t: {action: shop.do token=<% $.token %>}
"""
    )
    id_ = await served.start("parent", {})
    async with served.worker() as hand:
        offer = await hand.offer()
        assert values.decode(offer.input.data) == {"token": CANARY}
        await hand.finish(offer.token)
        assert await served.ended(id_) == ("SUCCEEDED", {"told": reference("api.token")})

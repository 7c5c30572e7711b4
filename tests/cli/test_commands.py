"""The commands that speak to a server, against a real one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

import tradewind as tradewind_client
from tests.cli import command_line
from tests.cli.test_check import BAD
from tests.docs.story import Story
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1.action_callback_pb2_grpc import ActionCallbackStub
from tradewind.v1.action_pb2 import LogLine

pytestmark = pytest.mark.slow

TEXT = """
version: '2.0'
book:
  input: [amount]
  output: {amount: <% $.amount %>, answer: <% $.answer %>}
  tasks:
    ask:
      action: std.async_noop
      publish: {answer: <% task().result %>}
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A server of the module, with one workflow deployed."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "book.yaml").write_text(TEXT)
    with Story(folder) as story:
        story.start("tradewind server")
        assert story.run("tradewind deploy book.yaml") == "workflow book version 1 (new)\n"
        yield story


@pytest.fixture
def started(story: Story) -> str:
    """An execution that waits for an answer."""
    return start(story)


def start(story: Story, *options: str) -> str:
    """Start the workflow and return the id."""
    found: str = answer(story, "start", "book", "--input", '{"amount": 10.50}', *options)["id"]
    return found


def tradewind(story: Story, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line with the story's server."""
    return command_line.tradewind(*arguments, "--address", story.address)


def answer(story: Story, *arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    done = tradewind(story, *arguments, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout, parse_float=Decimal)


def refusal(story: Story, *arguments: str) -> tuple[int, str]:
    """Run a command that must be refused, and return exit code and reason."""
    done = tradewind(story, *arguments, "--json")
    return done.returncode, json.loads(done.stdout)["error"]["reason"]


def test_deploy_again_makes_no_version(story: Story) -> None:
    """The same content is there already."""
    again = answer(story, "deploy", str(story.folder / "book.yaml"))
    assert (again["created"], again["definitions"][0]["version"]) == ([], 1)


def test_deploy_of_errors_shows_them_and_stores_nothing(story: Story, tmp_path: Path) -> None:
    """As check does."""
    (tmp_path / "bad.yaml").write_text(BAD)
    done = tradewind(story, "deploy", str(tmp_path / "bad.yaml"))
    assert done.returncode == 1
    assert b"fix: Did you mean 'action'?" in done.stdout
    assert [item["name"] for item in answer(story, "workflows")] == ["book"]


def test_show_says_what_it_waits_for(story: Story, started: str) -> None:
    """The tree, for people and for scripts."""
    shown = answer(story, "show", started)
    assert (shown["state"], [task["name"] for task in shown["tasks"]]) == ("RUNNING", ["ask"])
    assert [(wait["kind"], wait["task"]) for wait in shown["waiting_for"]] == [("ACTION", "ask")]
    assert b"waits: " in tradewind(story, "show", started).stdout


def test_action_is_completed_by_the_name_of_its_task(story: Story, started: str) -> None:
    """And the decimals of input and answer keep their digits."""
    answer(story, "actions", "complete", started, "ask", "--result", '{"price": 0.10}')
    watched = tradewind(story, "watch", started, "--json")
    assert watched.returncode == 0
    assert [json.loads(line)["revision"] for line in watched.stdout.splitlines()][:2] == [1, 2]
    shown = tradewind(story, "show", started, "--json").stdout
    assert b'"output":{"amount":10.50,"answer":{"price":0.10}}' in shown


def test_action_fails_and_so_does_watch(story: Story, started: str) -> None:
    """Exit 1: it did not succeed."""
    answer(story, "actions", "fail", started, "ask", "--message", "no", "--code", "REFUSED")
    assert tradewind(story, "watch", started).returncode == 1
    [task] = answer(story, "show", started)["tasks"]
    assert (task["state"], task["error"]["code"], task["error"]["message"]) == ("FAILED", "REFUSED", "no")


def test_failed_task_is_rerun_or_skipped_without_a_name(story: Story, started: str) -> None:
    """There is only one."""
    answer(story, "actions", "fail", started, "ask", "--message", "no")
    assert answer(story, "rerun", started)["state"] == "RUNNING"
    answer(story, "actions", "fail", started, "ask", "--message", "no")
    answer(story, "skip", started)
    assert answer(story, "show", started)["tasks"][0]["state"] == "SKIPPED"


def test_pause_resume_and_cancel_steer_it(story: Story, started: str) -> None:
    """Each answers with the new state, and what is over cannot be paused."""
    assert answer(story, "pause", started, "--message", "lunch")["state"] == "PAUSED"
    assert answer(story, "resume", started)["state"] == "RUNNING"
    assert answer(story, "cancel", started)["state"] in ("CANCELLING", "CANCELLED")
    tradewind(story, "watch", started)
    assert refusal(story, "pause", started) == (1, "EXECUTION_WRONG_STATE")


def test_ps_filters(story: Story) -> None:
    """By state and business key."""
    execution_id = start(story, "--business-key", "k-1")
    found = answer(story, "ps", "--state", "running", "--business-key", "k-1")
    assert [item["id"] for item in found] == [execution_id]
    assert answer(story, "ps", "--business-key", "k-2") == []


def test_ps_finds_by_tag_age_and_text(story: Story) -> None:
    """Ages are of the start; a text is looked for in the last day unless it is said where."""
    execution_id = start(story, "--tag", "blue", "--description", "Mira's September book")

    def found(*arguments: str) -> list[str]:
        return [item["id"] for item in answer(story, "ps", *arguments)]

    assert found("--tag", "blue") == [execution_id]
    assert found("--tag", "blue", "--since", "1h") == [execution_id]
    assert found("--tag", "blue", "--until", "1h") == []
    assert found("--search", "SEPTEMBER") == [execution_id]
    assert found("--search", "october") == []


def test_count_groups(story: Story) -> None:
    """By state, or by what is asked for."""
    start(story, "--tag", "green", "--tag", "light")
    found = answer(story, "count", "--by", "workflow,tags", "--filter", "tags:green")
    assert found["total"] == 1
    assert [group["values"] for group in found["groups"]] == [
        {"workflow": "book", "tags": "green"},
        {"workflow": "book", "tags": "light"},
    ]
    shown = tradewind(story, "count", "--tag", "green").stdout.decode().splitlines()
    assert [line.split() for line in shown] == [["STATE", "COUNT"], ["RUNNING", "1"], ["1", "in", "all"]]


def test_export_writes_whole_executions_and_goes_on_after_a_cursor(story: Story) -> None:
    """One line each, with all digits; what was written does not come again."""
    ids = [start(story, "--tag", "exported") for _ in range(3)]
    answer(story, "actions", "complete", ids[0], "ask", "--result", "1.00")
    tradewind(story, "watch", ids[0])

    def lines(*arguments: str) -> list[Any]:
        done = tradewind(story, "export", "--tag", "exported", *arguments)
        assert done.returncode == 0, done
        return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]

    found = lines()
    assert [item["id"] for item in found] == ids[::-1]
    whole = found[-1]
    assert str(whole["output"]) == "{'amount': Decimal('10.50'), 'answer': Decimal('1.00')}"
    assert [event["revision"] for event in whole["events"]] == list(range(1, whole["revision"] + 1))
    assert [task["name"] for task in whole["tasks"]] == ["ask"]
    assert [action["state"] for action in whole["actions"]] == ["SUCCEEDED"]
    assert [item["id"] for item in lines("--cursor", found[0]["cursor"])] == ids[1::-1]
    assert lines("--cursor", whole["cursor"]) == []
    assert refusal(story, "export", "--cursor", whole["cursor"]) == (1, "CURSOR_INVALID")


def test_retention_is_set_listed_and_removed(story: Story) -> None:
    """Of a workflow or of all others; what has no rule is kept for ever."""
    assert answer(story, "retention", "list") == []
    assert answer(story, "retention", "set", "90d")["keep_seconds"] == 90 * 86_400
    assert answer(story, "retention", "set", "ever", "--workflow", "book")["keep_seconds"] is None
    shown = tradewind(story, "retention", "list").stdout.decode().splitlines()
    assert [line.split("  ")[0].strip() for line in shown] == ["WORKFLOW", "(all others)", "book"]
    answer(story, "retention", "delete")
    assert [rule["workflow"] for rule in answer(story, "retention", "list")] == ["book"]
    answer(story, "retention", "delete", "--workflow", "book")
    assert refusal(story, "retention", "set", "soon") == (2, "UNUSABLE_INPUT")
    assert refusal(story, "retention", "set", "1s") == (1, "FIELD_INVALID")


def test_workers_are_listed_drained_and_resumed(story: Story) -> None:
    """Over the command line; one that is not there is refused."""
    client = tradewind_client.connect(story.address)
    worker = tradewind_client.Worker(client, worker_id="cli-1", build="7", labels={"site": "oslo"})
    worker.action("cli.do")(lambda: None)
    thread = threading.Thread(target=lambda: asyncio.run(worker.serve()))
    thread.start()
    try:
        assert worker.wait_connected(10)
        [found] = answer(story, "workers", "--action", "cli.do")
        assert (found["worker_id"], found["state"], found["in_hand"], found["build"]) == ("cli-1", "ACTIVE", 0, "7")
        assert found["actions"] == [{"name": "cli.do", "concurrency": 32, "labels": {"site": "oslo"}}]
        assert [w["state"] for w in answer(story, "workers", "drain", "cli-1", "--message", "disks")] == ["DRAINING"]
        [drained] = answer(story, "workers", "--filter", "state = DRAINING")
        assert drained["drain_message"] == "disks"
        assert worker.is_drained
        shown = tradewind(story, "workers").stdout.decode().splitlines()
        assert [line.split()[0] for line in shown] == ["ID", "cli-1"]
        assert [w["state"] for w in answer(story, "workers", "resume", "cli-1")] == ["ACTIVE"]
    finally:
        worker.stop()
        thread.join(10)
        client.close()
    assert refusal(story, "workers", "drain", "nobody") == (1, "WORKER_NOT_FOUND")


def test_log_of_an_action_is_shown(story: Story) -> None:
    """What the worker's function wrote, with its level; inline functions write, too."""
    (story.folder / "chatty.yaml").write_text(
        "version: '2.0'\nchatty:\n  tasks:\n    a: {action: cli.chat, on-success: b}\n    b: {action: cli.quick}\n"
    )
    answer(story, "deploy", str(story.folder / "chatty.yaml"))
    client = tradewind_client.connect(story.address)
    worker = tradewind_client.Worker(client)

    def chat(context: tradewind_client.ActionContext) -> None:
        context.log("begun")
        context.log("odd", level="warning")

    worker.action("cli.chat")(chat)
    worker.action("cli.quick", inline=True)(lambda context: context.log("quick", level="DEBUG"))
    thread = threading.Thread(target=lambda: asyncio.run(worker.serve()))
    thread.start()
    try:
        id_ = answer(story, "start", "chatty", "--wait")["id"]
        shown = tradewind(story, "actions", "logs", id_).stdout.decode().splitlines()
        assert [line.split()[2:] for line in shown] == [
            ["a1", "INFO", "begun"],
            ["a1", "WARNING", "odd"],
            ["a2", "DEBUG", "quick"],
        ]
        lines = tradewind(story, "actions", "logs", id_, "a2", "--json").stdout.decode().splitlines()
        assert [json.loads(line)["message"] for line in lines] == ["quick"]
        followed = tradewind(story, "actions", "logs", id_, "--follow", "--json").stdout.decode().splitlines()
        assert [json.loads(line)["message"] for line in followed] == ["begun", "odd", "quick"]
    finally:
        worker.stop()
        thread.join(10)
        client.close()


def test_checkpoint_and_last_line_of_a_running_action_are_shown(story: Story) -> None:
    """With what it says of its progress; as JSON, too."""
    (story.folder / "slow.yaml").write_text("version: '2.0'\nslow:\n  tasks:\n    a: {action: cli.slow}\n")
    answer(story, "deploy", str(story.folder / "slow.yaml"))
    with tradewind_client.connect(story.address) as client, grpc.insecure_channel(story.address) as channel:
        stub = ActionCallbackStub(channel)
        id_ = client.start("slow").id
        poll = v1.PollActionsRequest(worker_id="w", actions=[v1.ActionCapability(name="cli.slow")])
        [offer] = stub.PollActions(poll).offers
        said = v1.ActionBeat(token=offer.token, progress_message="half way", logs=[LogLine(number=1, message="begun")])
        said.checkpoint.CopyFrom(values.to_payload({"at": 5}))
        stub.HeartbeatActions(v1.HeartbeatActionsRequest(worker_id="w", actions=[said]))
        shown = tradewind(story, "show", id_).stdout.decode()
        assert "It says: half way" in shown
        assert 'a1 checkpoint: {"at":5}' in shown
        assert "INFO begun" in shown
        [action] = answer(story, "show", id_)["actions"]
        assert (action["progress"], action["checkpoint"]) == ("half way", {"at": 5})
        assert action["last_log"]["message"] == "begun"
        stub.CompleteAction(v1.CompleteActionRequest(token=offer.token))
        assert client.wait(id_).state == "SUCCEEDED"
    assert "actions" not in answer(story, "show", id_)


def test_limits_are_set_listed_and_removed(story: Story) -> None:
    """Of both kinds; what is no limit is refused. Without a word of what to do they are listed, too."""
    assert answer(story, "limits", "list") == answer(story, "limits") == []
    assert answer(story, "limits", "set", "cli.do", "--concurrency", "5")["concurrency"] == 5
    limit = answer(story, "limits", "set", "cli.other", "--rate", "100/1m")
    assert (limit["concurrency"], limit["rate"], limit["period_seconds"]) == (None, 100, 60.0)
    assert answer(story, "limits", "set", "cli.do", "--rate", "2/s", "--concurrency", "0")["rate"] == 2
    assert answer(story, "limits") == answer(story, "limits", "list")
    shown = tradewind(story, "limits").stdout.decode().splitlines()
    assert [line.split()[0] for line in shown] == ["ACTION", "cli.do", "cli.other"]
    answer(story, "limits", "remove", "cli.other")
    answer(story, "limits", "remove", "cli.do")
    assert answer(story, "limits", "list") == []
    assert refusal(story, "limits", "set", "cli.do") == (1, "FIELD_INVALID")
    assert refusal(story, "limits", "set", "cli.do", "--rate", "fast") == (2, "UNUSABLE_INPUT")


def test_start_waits_and_fails_at_its_timeout(story: Story) -> None:
    """Exit 1, with the execution as it is."""
    done = tradewind(story, "start", "book", "--input", '{"amount": 1}', "--wait", "--timeout", "0.3", "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (1, "RUNNING")


def test_replay_agrees_with_the_server(story: Story, started: str) -> None:
    """While it waits, and when it has ended."""
    assert answer(story, "replay", started)["ok"] is True
    answer(story, "actions", "complete", started, "ask", "--result", "[1.0, 1.00]")
    tradewind(story, "watch", started)
    done = tradewind(story, "replay", started)
    assert done.returncode == 0
    assert done.stdout.startswith(b"OK: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("start", "nothing"), (1, "DEFINITION_NOT_FOUND")),
        (("start", "book"), (1, "INPUT_MISSING")),
        (("start", "book", "--input", "{"), (2, "UNUSABLE_INPUT")),
        (("show", "00000000-0000-7000-8000-000000000000"), (1, "EXECUTION_NOT_FOUND")),
        (("ps", "--filter", "colour = 1"), (1, "FILTER_INVALID")),
        (("ps", "--filter", "text:abc"), (1, "SEARCH_UNBOUNDED")),
        (("count", "--by", "colour"), (1, "FIELD_INVALID")),
        # of a terminal that is set to Latin-1, as it was a traceback
        (("show", "M\udcfcller"), (2, "UNUSABLE_INPUT")),
        (("ps", "--filter", 'workflow = "M\udcfcller"'), (2, "UNUSABLE_INPUT")),
        (("start", "book", "--input", '{"amount": "\\ud800"}'), (2, "UNUSABLE_INPUT")),
    ],
)
def test_refusal_has_a_reason_and_an_exit_code(
    story: Story, arguments: tuple[str, ...], expected: tuple[int, str]
) -> None:
    """For scripts to branch on."""
    assert refusal(story, *arguments) == expected


def test_action_of_a_task_that_does_not_wait_is_refused_with_where_to_look(story: Story, started: str) -> None:
    """It may not have come to it yet, or there is no such task."""
    done = tradewind(story, "actions", "complete", started, "nobody")
    assert done.returncode == 2
    assert f"there is none. See what waits: tradewind actions list {started}" in " ".join(done.stderr.decode().split())


def test_second_server_on_the_file_is_refused(story: Story) -> None:
    """With a sentence, not a traceback."""
    done = story.run("tradewind server --listen 127.0.0.1:0; echo exit $?")
    assert done.endswith("exit 2\n"), done
    assert "Traceback" not in done


def test_graph_shows_how_far_an_execution_is(story: Story, started: str) -> None:
    """The definition that it runs, with the state of each task."""
    done = tradewind(story, "graph", started)
    assert (done.returncode, done.stdout.decode()) == (0, "book\n└─ ● ask  RUNNING  std.async_noop\n")
    facts = answer(story, "graph", started)
    assert [(node["label"], node["state"]) for node in facts["nodes"]] == [("start", ""), ("ask", "RUNNING")]
    assert [(edge["source"], edge["target"], edge["kind"]) for edge in facts["edges"]] == [
        ("start", "task ask", "start")
    ]


def test_graph_needs_something_to_draw(story: Story, started: str, tmp_path: Path) -> None:
    """An id that is none is refused; a file that is none, or has errors, or no such workflow, cannot be used."""
    assert refusal(story, "graph", "nobody") == (1, "EXECUTION_NOT_FOUND")
    assert refusal(story, "graph", started, "--workflow", "book") == (2, "UNUSABLE_INPUT")
    assert refusal(story, "graph", "nowhere.yaml") == (2, "UNUSABLE_INPUT")
    assert refusal(story, "graph", str(story.folder / "book.yaml"), "--workflow", "w") == (2, "UNUSABLE_INPUT")
    (tmp_path / "bad.yaml").write_text(BAD)
    assert tradewind(story, "graph", str(tmp_path / "bad.yaml")).returncode == 2


def test_stored_environment_is_kept_and_started_with(story: Story) -> None:
    """By its name; what is not there is told with what to do."""
    assert answer(story, "env", "set", "prod", '{"url": "https://a"}', "--description", "the real one")["etag"] == "1"
    assert [item["name"] for item in answer(story, "env", "list")] == ["prod"]
    assert answer(story, "env", "show", "prod")["variables"] == {"url": "https://a"}
    assert start(story, "--env", "prod")
    assert refusal(story, "start", "book", "--env", "nowhere") == (1, "ENVIRONMENT_NOT_FOUND")
    assert answer(story, "env", "delete", "prod") == {"name": "prod"}
    assert answer(story, "env", "list") == []


def test_subscription_is_made_moved_and_removed(story: Story, started: str) -> None:
    """With and without a webhook; a moment needs to be one, and the way to go exactly one."""
    made = answer(story, "subscriptions", "create", "ledger", "--filter", "type = ExecutionSucceeded")
    assert (made["filter"], made["state"], made["webhook"]) == ("type = ExecutionSucceeded", "ACTIVE", None)
    hook = ("--webhook", "https://a.example/x", "--header", "X-Team: a", "--secret", "key")
    assert answer(story, "subscriptions", "create", "hook", *hook)["webhook"] == "https://a.example/x"
    assert [item["name"] for item in answer(story, "subscriptions", "list")] == ["hook", "ledger"]
    assert refusal(story, "subscriptions", "create", "ledger") == (1, "SUBSCRIPTION_EXISTS")
    assert refusal(story, "subscriptions", "create", "x", "--secret", "key") == (2, "UNUSABLE_INPUT")
    back = answer(story, "subscriptions", "rewind", "ledger", "--from-beginning")
    assert answer(story, "subscriptions", "rewind", "ledger", "--now")["cursor"] != back["cursor"]
    assert answer(story, "subscriptions", "rewind", "ledger", "--time", "2026-01-01T00:00:00Z") == back
    assert refusal(story, "subscriptions", "rewind", "ledger") == (2, "UNUSABLE_INPUT")
    assert refusal(story, "subscriptions", "rewind", "ledger", "--time", "noon") == (2, "UNUSABLE_INPUT")
    assert answer(story, "subscriptions", "show", "ledger")["pending_events"] > 0
    assert answer(story, "subscriptions", "disable", "hook", "--message", "moves")["state_message"] == "moves"
    assert answer(story, "subscriptions", "enable", "hook")["state"] == "ACTIVE"
    assert answer(story, "subscriptions", "dead-letters", "hook") == []
    assert answer(story, "subscriptions", "retry", "hook", started) == {"count": 0}
    assert answer(story, "subscriptions", "discard", "hook") == {"count": 0}
    for name in ("hook", "ledger"):
        assert answer(story, "subscriptions", "delete", name) == {"name": name}
    assert answer(story, "subscriptions", "list") == []

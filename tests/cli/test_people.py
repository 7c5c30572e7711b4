"""`tradewind inbox` and `tradewind task`, against a real server."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from tests.cli import command_line
from tests.docs.story import Story, served
from tradewind_server.cli import form_asking
from tradewind_server.cli.output import grid

TEXT = """
version: '2.0'
bonus:
  input: [amount]
  tasks:
    approve:
      human:
        title: Approve <% $.amount %>
        show: {amount: <% $.amount %>}
        form: {type: object, properties: {comment: {type: string}}}
        groups: heads
        separate_from: initiator
        outcomes: {approve: , reject: {reason: required}, return: {reason: required}}
      on-success:
        - noop: <% task().result.outcome in [approve, reject, return] %>
loan:
  tasks:
    approve:
      human:
        title: Approve the loan
        users: [ann, ben]
        form: {type: object, properties: {years: {type: integer}}}
        outcomes: {approve: , reject: {reason: required}}
        quorum: {sequential: true, veto: reject}
      on-success:
        - noop: <% task().result.outcome in [approve, reject] %>
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A server of the module, with one workflow deployed."""
    with served(tmp_path_factory.mktemp("people"), "bonus.yaml", TEXT) as story:
        yield story


def run(story: Story, user: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a user of the group heads."""
    who = ("--user", user, "--groups", "heads", "--address", story.address)
    return command_line.tradewind(*arguments, *who)


def answer(story: Story, user: str, *arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    done = run(story, user, *arguments, "--json")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout, parse_float=Decimal)


def begin(story: Story, amount: str) -> str:
    """Start a process as eve, and return the id of its human task."""
    id_: str = answer(story, "eve", "start", "bonus", "--input", f'{{"amount": {amount}}}')["id"]
    return f"{id_}/a1"


@pytest.mark.slow
def test_what_is_in_the_inbox_is_shown_claimed_and_decided(story: Story) -> None:
    id_ = begin(story, "10.50")
    assert id_ in {item["id"] for item in answer(story, "alice", "inbox")}
    assert id_ not in {item["id"] for item in answer(story, "eve", "inbox")}
    assert answer(story, "alice", "task", "claim", id_)["assignee"] == "alice"
    answer(story, "alice", "task", "draft", id_, '{"comment": "so"}')
    answer(story, "alice", "task", "comment", id_, "looks fine")
    shown = answer(story, "alice", "task", "show", id_)
    assert (shown["show"], shown["draft"]) == ({"amount": Decimal("10.50")}, {"comment": "so"})
    # who asks has seen it himself
    assert [entry["type"] for entry in shown["entries"]][-2:] == ["HumanTaskCommented", "HumanTaskSeen"]
    said = run(story, "alice", "task", "show", id_).stdout.decode()
    for line in (
        "amount: 10.50",
        "Form: comment (string, optional)",
        'Draft: {"comment":"so"}',
        "With: alice",
        "draft saved by",
    ):
        assert line in said

    assert answer(story, "alice", "task", "delegate", id_, "fred", "--note", "yours")["owner"] == "alice"
    assert answer(story, "fred", "task", "release", id_)["assignee"] == "alice"
    assert answer(story, "chief", "task", "assign", id_, "gil")["assignee"] == "gil"
    done = answer(story, "gil", "task", "submit", id_, "--outcome", "approve", "--data", '{"comment": "ok"}')
    assert (done["done_by"], done["outcome"]) == ("gil", "approve")
    assert id_ not in {item["id"] for item in answer(story, "alice", "inbox")}
    assert id_ in {item["id"] for item in answer(story, "alice", "inbox", "--scope", "all")}


@pytest.mark.slow
def test_show_says_how_long_a_process_has_waited_until_now(story: Story) -> None:
    """Not until its last event: nothing happens while a person thinks."""
    execution_id = begin(story, "7").removesuffix("/a1")
    began = time.monotonic()
    answer(story, "alice", "inbox")
    waited = time.monotonic() - began
    shown = run(story, "alice", "show", execution_id).stdout.decode()
    spans = [float(seconds) for seconds in re.findall(r"RUNNING\s+([0-9.]+) s", shown)]
    assert len(spans) == 2
    assert min(spans) > waited - 0.1, shown


@pytest.mark.slow
def test_many_are_decided_at_once_and_refusals_are_told(story: Story) -> None:
    ids = [begin(story, str(n)) for n in range(2)]
    answer(story, "fred", "task", "claim", ids[1])
    done = run(story, "alice", "task", "submit", "1/a1", *ids, "nonsense", "--outcome", "approve", "--json")
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["id"] for each in found] == ["1/a1", *ids, "nonsense"]
    assert [each.get("outcome") or each["reason"] for each in found] == [
        "HUMAN_TASK_NOT_FOUND", "approve", "HUMAN_TASK_TAKEN", "FIELD_INVALID",
    ]  # fmt: skip


@pytest.mark.slow
def test_several_vote_and_what_is_missing_is_said(story: Story) -> None:
    """One after the other: who voted how, who is next, and how many more it takes."""
    id_ = f"{answer(story, 'eve', 'start', 'loan')['id']}/a1"
    assert [item["asked"] for item in answer(story, "ann", "inbox") if item["id"] == id_] == [["ann"]]
    assert b"PERSON_NOT_ELIGIBLE" in run(story, "ben", "task", "submit", id_, "--outcome", "approve").stderr
    data = ("--data", '{"years": 5}')
    said = run(story, "ann", "task", "submit", id_, "--outcome", "approve", *data, "--reason", "as in May").stdout
    assert said == b"voted approve: Approve the loan (1 more needed)\n"
    assert b"ONE_VOTE_EACH" in run(story, "ann", "task", "submit", id_, "--outcome", "approve").stderr

    shown = run(story, "ben", "task", "show", id_).stdout.decode()
    for line in (
        "Outcomes: approve, reject (with a reason, decides with one vote)",
        "Votes: 1; 2 for one outcome decide, 1 more needed",
        '  ann: approve  (as in May)  {"years":5}',
        "Asked: ben",
        "voted by ann: approve  (as in May)",
    ):
        assert line in shown
    assert answer(story, "ben", "task", "delegate", id_, "dan")["claims"] == [{"user": "dan", "owner": "ben"}]
    done = answer(story, "dan", "task", "submit", id_, "--outcome", "approve")
    assert " voted by dan for ben: approve\n" in run(story, "ann", "task", "show", id_).stdout.decode().replace(
        "  ", " "
    )
    assert (done["outcome"], [(vote["by"], vote["owner"]) for vote in done["votes"]]) == (
        "approve",
        [("ann", ""), ("dan", "ben")],
    )


@pytest.mark.slow
def test_a_return_says_what_is_to_be_corrected(story: Story) -> None:
    id_ = begin(story, "1")
    assert b"REASON_MISSING" in run(story, "alice", "task", "return", id_).stderr
    assert answer(story, "alice", "task", "return", id_, "--reason", "wrong month")["outcome"] == "return"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inbox", "--scope", "mien"), "Expected --scope"),
        (("task", "submit", "1/a1"), "HUMAN_TASK_NOT_FOUND"),
        (("task", "submit", "1/a1", "2/a1"), "Expected --outcome and no --data"),
        (("task", "show", "nonsense"), "FIELD_INVALID"),
    ],
)
def test_what_cannot_be_done_is_said(story: Story, arguments: tuple[str, ...], said: str) -> None:
    done = run(story, "alice", *arguments)
    assert done.returncode != 0
    assert said in done.stderr.decode()


@pytest.mark.slow
def test_who_is_away_names_a_substitute(story: Story) -> None:
    added = answer(story, "alice", "task", "absent", "gil", "--until", "2099-01-01")
    assert (added["user"], added["substitute"]) == ("alice", "gil")
    assert added in answer(story, "alice", "task", "absences", "--who", "alice")
    answer(story, "alice", "task", "back", added["id"])
    assert answer(story, "alice", "task", "absences", "--who", "alice") == []


FORM = {
    "type": "object",
    "required": ["amount", "kind"],
    "properties": {
        "amount": {"type": "number", "title": "Amount", "minimum": 0},
        "kind": {"enum": ["yearly", "once"]},
        "paid": {"type": "boolean", "default": False},
        "comment": {"type": "string", "maxLength": 5},
        "more": {"type": "integer"},
    },
}


def test_a_form_is_asked_field_by_field_until_each_answer_fits() -> None:
    lines = ["-1", "much", "10.50", "", "weekly", "once", "maybe", "y", "too long", "ok", ""]
    with CliRunner().isolation(input="\n".join([*lines, ""])) as (out, *_):
        data = form_asking.fill_in(FORM, {"comment": "so"})
        said = out.getvalue().decode()
    assert data == {"amount": Decimal("10.50"), "kind": "once", "paid": True, "comment": "ok"}
    assert "Amount: " in said
    assert "kind (yearly, once): " in said
    assert "comment (optional) [so]: " in said


def test_a_draft_is_offered_and_an_outcome_chosen() -> None:
    with CliRunner().isolation(input="\nno\nreject\n") as _:
        form = {"type": "object", "properties": {"comment": {"type": "string"}}}
        assert form_asking.fill_in(form, {"comment": "so"}) == {"comment": "so"}
        assert form_asking.choose({"approve": False, "reject": True}) == "reject"


def test_hints_of_a_form_say_how_to_ask() -> None:
    """In their order, with their help; what is read-only is shown, and what is sensitive is not."""
    form = {
        "type": "object",
        "properties": {
            "note": {"type": "string"},
            "pin": {"type": "string", "x-sensitive": True},
            "employee": {"type": "string", "default": "bob", "x-ui": {"read-only": True}},
            "days": {"type": "integer", "x-ui": {"order": 1, "help": "whole ones"}},
        },
        "required": ["days"],
    }
    with CliRunner().isolation(input="3\nfine\n\n") as (out, *_):
        data = form_asking.fill_in(form, {"pin": "4711"})
        said = out.getvalue().decode()
    assert data == {"days": 3, "note": "fine", "pin": "4711", "employee": "bob"}
    assert said.index("days (whole ones): ") < said.index("note (optional): ") < said.index("pin (optional): ")
    assert "employee: bob\n" in said
    assert "4711" not in said


def test_a_form_moves_no_cursor_when_it_is_asked() -> None:
    """Titles, helps, choices, drafts and what is wrong are shown as all else is; what is offered stays exact."""
    form = {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": "string", "title": "A\x1b[2J", "pattern": "^\x1b?b$", "default": "c\x1b[1A"},
            "d\x07": {"enum": ["e\x1b[31m", "f"], "description": "\x9b31mhelp"},
            "g": {"type": "string", "default": "h\x1b]0;t\x07", "x-ui": {"read-only": True}},
            "i": {"type": "string"},
        },
    }
    with CliRunner().isolation(input="\nb\nf\n\n") as (out, *_):
        data = form_asking.fill_in(form, {"i": "j\x08"})
        said = out.getvalue().decode()
    assert data == {"a": "b", "d\x07": "f", "g": "h\x1b]0;t\x07", "i": "j\x08"}
    assert not {"\x1b", "\x07", "\x08", "\x9b"} & set(said)
    assert "A\ufffd[2J [c\ufffd[1A]: " in said


@pytest.mark.slow
def test_what_people_wrote_is_shown_as_they_wrote_it(story: Story) -> None:
    """Brackets are no markup, which would hide what is to be decided on, or break off; and nothing moves the cursor."""
    title = "Approve [/A-17] [red]:warning:\x1b[2J"
    id_ = begin(story, json.dumps(title))
    said = "see [/bold] and \x1b]0;title\x07"
    answer(story, "alice", "task", "comment", id_, said)

    for command in (["inbox"], ["task", "show", id_], ["task", "claim", id_]):
        done = run(story, "alice", *command)
        assert (done.returncode, done.stderr) == (0, b"")
        shown = done.stdout.decode()
        assert "Approve Approve [/A-17] [red]:warning:" in shown
        assert "\x1b" not in shown
    shown = run(story, "alice", "task", "show", id_).stdout.decode()
    assert "(see [/bold] and " in shown
    assert not {"\x1b", "\x07"} & set(shown)
    answer(story, "alice", "task", "submit", id_, "--outcome", "approve")


@pytest.mark.parametrize("width", [60, 80, 110])
def test_an_id_can_be_copied_from_a_narrow_terminal(width: int) -> None:
    """Of an inbox that is watched, of a list and of a board; nothing else is cut either."""
    id_ = "01a228af-64df-77e5-9d13-1595f91129e9/a5"
    console = Console(width=width, file=(file := io.StringIO()), color_system=None, force_terminal=True)
    columns = ("ID", "PRIORITY", "TITLE", "WORKFLOW", "STATE", "WHO")
    console.print(grid(columns, [(id_, "0", "Bonus of e-17 for 2026-12", "salary", Text("OFFERED"), "mira")]))
    written = file.getvalue()
    assert id_ in written
    assert "…" not in written

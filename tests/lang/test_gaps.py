"""An error hides what may have been meant there, but nothing that is wrong elsewhere; and nothing follows from it."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check


def _told(tasks: str, more: str = "") -> set[str]:
    return {
        problem.code for problem in check([Source("f.yaml", f"version: '2.0'\nw:\n{more}  tasks:\n{tasks}")]).problems
    }


#: A part of task `a` that cannot be read and names no task and no variable, with the error.
_BROKEN = [
    ("wait-before: soon", "wrong-type"),
    ("retry: {count: 1}", "missing-keyword"),
    ("retry: count=x delay=1", "wrong-type"),
    ("acton: std.noop", "unknown-keyword"),
    ("requires: {}", "wrong-workflow-type"),
    ("publish: {v: <% ( %>}", "expression-syntax"),
    ("fail-on: <% ( %>", "expression-syntax"),
    ("on-complete: {noop: <% ( %>}", "expression-syntax"),
    ("input: []", "wrong-type"),
    ("with-items: x of y", "with-items"),
    ("human: {title: x}", "missing-keyword"),
    ("timeout: -1", "wrong-type"),
    ("workflow: [x]", "wrong-type"),
]

_IMPOSSIBLE = """\
    b: {action: x, on-success: c, on-error: d}
    c: {on-success: j}
    d: {on-success: j}
    j: {join: all}
"""
_UNREACHABLE = "    b: {on-success: c}\n    c: {on-success: b}\n"
_UNPUBLISHED = (
    "    b: {action: x, publish-on-error: {p: 1}, on-success: c}\n    c: {action: y, input: {z: <% $.p %>}}\n"
)
_UNKNOWN = "    b: {action: x, input: {z: <% $.q %>}}\n"
_CONFLICT = "    b: {publish: {p: 1}, on-success: j}\n    c: {publish: {p: 2}, on-success: j}\n    j: {join: all}\n"


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        (_IMPOSSIBLE, "impossible-join"),
        (_UNREACHABLE, "unreachable-task"),
        (_UNPUBLISHED, "unpublished-variable"),
        (_UNKNOWN, "unknown-variable"),
        (_CONFLICT, "join-conflict"),
    ],
    ids=lambda value: value if value.islower() and " " not in value else "",
)
@pytest.mark.parametrize(("broken", "error"), _BROKEN, ids=lambda value: value)
def test_an_error_in_one_task_hides_nothing_that_is_wrong_in_others(
    broken: str, error: str, tasks: str, code: str
) -> None:
    assert _told(f"    a: {{{broken}}}\n{tasks}") == {error, code}


@pytest.mark.parametrize(
    "more",
    ["  output: []\n", "  inputs: [i]\n", "  vras: {i: 1}\n", "  task-defaults: {retry: {count: 1}}\n", "  tags: x\n"],
)
def test_an_error_beside_the_tasks_hides_nothing_that_is_wrong_in_them(more: str) -> None:
    found = _told(f"    a: {{action: x}}\n{_UNREACHABLE}", more)

    assert len(found) == 2
    assert "unreachable-task" in found


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        # that it leads somewhere
        ("    a: {action: x, on-sucess: [b]}\n    b: {on-success: c}\n    c: {on-success: b}\n", "unknown-keyword"),
        ("    a: {action: x, on-success: [{b: 1}]}\n    b: {on-success: c}\n    c: {on-success: b}\n", "guard"),
        (
            "    a: {action: x, on-success: {b: <% 1 %>, c: 2}}\n    b: {on-success: c}\n    c: {on-success: b}\n",
            "wrong-type",
        ),
        ("    a: {action: x, on-success: ['b c']}\n    b: {on-success: c}\n    c: {on-success: b}\n", "transition"),
        ("    a: [b]\n    b: {on-success: c}\n    c: {on-success: b}\n", "wrong-type"),
        ("    a: {action: x, on-sucess: j}\n    j: {join: all}\n", "unknown-keyword"),
        ("    a: {on-success: {next: [j], publsh: {}}}\n    j: {join: 2}\n    b: {on-eror: j}\n", "unknown-keyword"),
        # that it is a branch of a join, which then can happen, or comes after another
        (
            "    a: {action: x, on-success: j, on-error: k, on-complet: j}\n    k: {on-success: j}\n    j: {join: 2}\n",
            "unknown-keyword",
        ),
        (
            "    a: {publish: {p: 1}, on-success: j, on-sucess: b}\n"
            "    b: {publish: {p: 2}, on-success: j}\n    j: {join: all}\n",
            "unknown-keyword",
        ),
        # that it publishes
        ("    a: {action: x, publsh: {v: 1}, on-success: b}\n    b: {action: y z=<% $.v %>}\n", "unknown-keyword"),
        (
            "    a: {action: x, on-success: {next: b, publish: {brnch: {v: 1}}}}\n    b: {action: y z=<% $.v %>}\n",
            "unknown-keyword",
        ),
        (
            "    a: {action: x, publsh: {v: 1}, publish-on-error: {v: 1}, on-success: b}\n"
            "    b: {action: y z=<% $.v %>}\n",
            "unknown-keyword",
        ),
        # that a success fails
        (
            "    a: {action: x, publish: {v: 1}, on-error: b, retry: {count: 1}}\n    b: {action: y z=<% $.v %>}\n",
            "missing-keyword",
        ),
        # that there are items
        ("    a: {action: x y=<% $.i %>, with-items: i of <% $ %>}\n", "with-items"),
        ("    a: {action: x y=<% $.i %>, with-itms: i in <% $ %>}\n", "unknown-keyword"),
        ("    a: {action: x, with-items: i of <% $ %>, concurrency: 1}\n", "with-items"),
        # that a failure is told
        ("    a: {action: x, on-error: [noop, {b: 1}]}\n", "guard"),
        ("    a: {action: x, on-error: noop, publish-on-eror: {v: 1}}\n", "unknown-keyword"),
        ("    a: {action: x, on-error: noop, on-eror: fail}\n", "unknown-keyword"),
        # that the call is another, or has what it needs
        ("    a: {action: [std.noop], input: {x: 1}}\n", "wrong-type"),
        ("    a: {action: std.http, inptu: {url: x}}\n", "unknown-keyword"),
        ("    a: {action: std.http, input: [url]}\n", "wrong-type"),
        # that something is read, or compared
        ("    a: {action: x, with-items: i in <% $ + %>}\n", "expression-syntax"),
    ],
)
def test_what_may_only_follow_from_an_error_is_not_told(tasks: str, error: str) -> None:
    assert _told(tasks) == {error}


#: What says nothing of what was meant.
_SAYS_NOTHING = ["", "5", "[]", "{}", "true"]
_LATER = "    a: {action: x, PART: VALUE}\n    b: {action: x y=<% $.p %>, on-success: c}\n    c: {publish: {p: 1}}\n"


@pytest.mark.parametrize("value", _SAYS_NOTHING)
@pytest.mark.parametrize(
    ("more", "tasks"),
    [
        # an input or a variable of the workflow
        (
            "  input: VALUE\n",
            f"{_UNKNOWN}    c: {{action: x y=<% $.p %>, on-success: d}}\n    d: {{publish: {{p: 1}}}}\n",
        ),
        ("  vars: VALUE\n", _UNKNOWN),
        ("  inptu: VALUE\n", _UNKNOWN),
        # a variable that is published
        ("", f"    a: {{action: x, publish: VALUE}}\n{_UNKNOWN}"),
        ("", f"    a: {{action: x, publish-on-error: VALUE}}\n{_UNKNOWN}"),
        ("", f"    a: {{action: x, on-success: {{next: b, publish: VALUE}}}}\n{_UNKNOWN}"),
        ("", f"    a: {{action: x, on-success: {{next: b, publish: {{branch: VALUE}}}}}}\n{_UNKNOWN}"),
        ("", f"    a: {{action: x, publsh: VALUE}}\n{_UNKNOWN}"),
        ("", f"    a: {{action: x, on-success: VALUE}}\n{_UNKNOWN}"),
        ("", f"    a: VALUE\n{_UNKNOWN}"),
        # one that somebody else publishes, too, but later
        ("", _LATER.replace("PART", "on-success: b, publish")),
        # a way
        ("", "    a: {action: x, publish: {p: 1}, on-success: VALUE}\n    b: {action: x y=<% $.p %>}\n"),
        ("", "    a: {action: x, publish: {p: 1}, on-success: {next: VALUE}}\n    b: {action: x y=<% $.p %>}\n"),
        ("", f"    a: {{action: x, on-success: VALUE}}\n{_UNREACHABLE}"),
        ("", f"    a: {{action: x, on-sucess: VALUE}}\n{_UNREACHABLE}"),
        ("", f"    a: {{action: x, on-success: {{next: [VALUE]}}}}\n{_UNREACHABLE}"),
        ("", f"    a: VALUE\n{_UNREACHABLE}"),
        ("", "    a: VALUE\n    j: {join: 2}\n    b: {on-success: j}\n"),
        ("", "    a: {action: x, on-success: VALUE}\n    c: {on-success: b}\n    b: {join: 2}\n"),
        ("  task-defaults: VALUE\n", f"    a: {{action: x}}\n{_UNREACHABLE}"),
        ("  task-defaults: {on-error: VALUE}\n", f"    a: {{action: x}}\n{_UNREACHABLE}"),
        # items
        ("", "    a: {action: x y=<% $.i %>, with-items: VALUE}\n"),
    ],
)
def test_what_says_nothing_may_have_been_meant_for_anything(more: str, tasks: str, value: str) -> None:
    found = _told(tasks.replace("VALUE", value), more.replace("VALUE", value))

    assert found & {"unknown-variable", "unpublished-variable", "unreachable-task", "join-cardinality"} == set()
    assert found & {"wrong-type", "unknown-keyword"}


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        ("    a:\n      publish {p: 1}\n    b: {action: x y=<% $.p %>}\n", "unknown-keyword"),
        ("    a: {action: x, publish: [1]}\n    b: {action: x y=<% $.p %>}\n", "wrong-type"),
        ("    a: {action: x, publish: [p]}\n    b: {action: x y=<% $.p %>}\n", "wrong-type"),
        ("    a: {action: x, publish: <% $ %>}\n    b: {action: x y=<% $.p %>}\n", "wrong-type"),
        (f"    a:\n      on-success [b, c: <% $ %>]\n{_UNREACHABLE}", "unknown-keyword"),
        ("    a: {action: x y=<% $.i %>, with-items: <% $ %>}\n", "with-items"),
    ],
)
def test_a_name_that_stands_in_the_wrong_place_counts(tasks: str, error: str) -> None:
    assert _told(tasks) == {error}


@pytest.mark.parametrize("value", _SAYS_NOTHING)
@pytest.mark.parametrize(
    ("more", "tasks", "code"),
    [
        # what is published leads nowhere
        ("", f"    a: {{action: x, publish: VALUE}}\n{_UNREACHABLE}", "unreachable-task"),
        ("", f"    a: {{action: x, publish: VALUE}}\n{_IMPOSSIBLE}", "impossible-join"),
        ("", f"    a: {{action: x, on-success: {{publish: VALUE, next: noop}}}}\n{_UNREACHABLE}", "unreachable-task"),
        # what leads on sets nothing
        ("", f"    a: {{action: x, on-success: {{next: VALUE}}}}\n{_UNKNOWN}", "unknown-variable"),
        # where nobody comes from, and before it is there
        ("", _LATER.replace("a: {action: x, PART: VALUE}", "a: {publish: VALUE}"), "unpublished-variable"),
        ("", f"    a: {{action: x, on-success: {{next: VALUE}}}}\n{_UNPUBLISHED}", "unpublished-variable"),
        # items are of their task alone, and an input is no way
        ("", f"    a: {{action: x, with-items: VALUE}}\n{_UNKNOWN}", "unknown-variable"),
        ("  input: VALUE\n", f"    a: {{action: x}}\n{_UNREACHABLE}", "unreachable-task"),
        ("  vars: VALUE\n", f"    a: {{action: x}}\n{_IMPOSSIBLE}", "impossible-join"),
        # other parts do neither
        ("", f"    a: {{action: VALUE}}\n{_UNREACHABLE}", "unreachable-task"),
        ("", f"    a: {{retry: VALUE}}\n{_UNKNOWN}", "unknown-variable"),
        ("  output: VALUE\n", f"    a: {{action: x}}\n{_UNKNOWN}", "unknown-variable"),
        ("  task-defaults: {retry: VALUE}\n", f"    a: {{action: x}}\n{_UNREACHABLE}", "unreachable-task"),
    ],
)
def test_what_says_nothing_hides_nothing_that_it_cannot_mean(more: str, tasks: str, code: str, value: str) -> None:
    found = _told(tasks.replace("VALUE", value), more.replace("VALUE", value))

    assert code in found
    assert found & {"wrong-type", "unknown-keyword"}


def test_a_slip_that_cannot_be_meant_for_a_failure_hides_none() -> None:
    assert _told("    a: {acton: x, on-error: noop}\n") == {"unknown-keyword", "hidden-failure"}


@pytest.mark.parametrize(
    ("more", "tasks", "error"),
    [
        ("  inputs: [v]\n", "    a: {action: x y=<% $.v %>}\n", "unknown-keyword"),
        ("  input: [v, 1]\n", "    a: {action: x y=<% $.v %>}\n", "wrong-type"),
        ("  input: v\n", "    a: {action: x y=<% $.v %>}\n", "wrong-type"),
        ("  vras: {v: 1}\n", "    a: {action: x y=<% $.v %>}\n", "unknown-keyword"),
        ("  type: revers\n", "    a: {requires: b}\n    b: {action: x}\n", "wrong-type"),
        ("  type: revers\n", "    a: {on-success: b}\n    b: {join: all}\n", "wrong-type"),
        (
            "  task-defaults: {on-eror: b}\n",
            "    a: {action: x}\n    b: {on-success: c}\n    c: {on-success: b}\n",
            "unknown-keyword",
        ),
        (
            "  type: reverse\n",
            "    a: {requries: b, action: x y=<% $.v %>}\n    b: {publish: {v: 1}}\n",
            "unknown-keyword",
        ),
        ("  input: [n]\n", "    a: {action: x, publish: {n: <% $.n + %>}}\n", "expression-syntax"),
    ],
)
def test_what_may_only_follow_from_an_error_beside_the_tasks_is_not_told(more: str, tasks: str, error: str) -> None:
    assert _told(tasks, more) == {error}


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        (
            "    a: {action: x, on-success: b}\n    a: {action: y}\n    b: {on-success: c}\n    c: {on-success: b}\n",
            "duplicate-key",
        ),
        ("    a: {action: x, on-success: !x b}\n    b: {on-success: c}\n    c: {on-success: b}\n", "yaml-tag"),
        ("    a: {<<: 1}\n    b: {on-success: c}\n    c: {on-success: b}\n    d: {join: all}\n", "yaml-syntax"),
    ],
)
def test_what_yaml_has_lost_may_have_been_anything(tasks: str, error: str) -> None:
    assert error in _told(tasks)
    assert _told(tasks).isdisjoint({"unreachable-task", "join-cardinality", "impossible-join"})


def test_a_variable_that_a_repeated_key_has_hidden_is_not_told_to_be_missing() -> None:
    """The name of a task was deleted by mistake, so its keywords stand in the one before."""
    tasks = """\
    a:
      action: x
      publish: {p: 1}
      action: y z=<% $.p %>
      publish: {q: 1}
      on-success: c
    c: {action: x y=<% $.p %>}
"""
    assert _told(tasks) == {"duplicate-key"}


def test_a_broken_human_task_is_one_all_the_same() -> None:
    """Others may be separate from it, and nothing is said of what its broken parts lack."""
    tasks = """\
    a: {human: {titel: x, users: [u], due: soon, remind: [{before_due: 1h}]}}
    b: {human: {title: x, users: [u], separate_from: {tasks: [a]}}}
"""
    assert _told(tasks) == {"unknown-keyword", "missing-keyword", "wrong-type"}


def test_an_outcome_that_only_a_broken_expression_asks_for_is_asked_for() -> None:
    tasks = """\
    a:
      human: {title: x, users: [u], outcomes: [yes_, no_]}
      on-success: [{b: "<% task().result.outcome = 'yes_' %>"}, {c: "<% (task().result.outcome = 'no_' %>"}]
    b: {action: x}
    c: {action: x}
"""
    assert _told(tasks) == {"expression-syntax"}


@pytest.mark.parametrize(
    ("human", "error"),
    [
        ("{titel: x, users: [u], outcomes: [approve, decline]}", {"unknown-keyword", "missing-keyword"}),
        ("{title: x, users: [u], outcome: [approve, decline]}", {"unknown-keyword"}),
        ("{title: x, users: [u], outcomes: {approve: 5, decline: }}", {"wrong-type"}),
        ("{title: x, users: [u], outcomes: {approve: {reasn: required}, decline: }}", {"unknown-keyword"}),
    ],
)
def test_the_name_of_an_outcome_that_cannot_be_read_is_not_taken_for_a_variable(human: str, error: set[str]) -> None:
    """It was told to be `$.approve`, which would have broken the guard."""
    tasks = f"""\
    a:
      human: {human}
      on-success: [{{b: <% task().result.outcome = approve %>}}, {{c: <% task().result.outcome = decline %>}}]
    b: {{action: x}}
    c: {{action: x}}
"""
    assert _told(tasks) == error
    assert _told(tasks, "  vars: {approve: 1}\n") == error


def test_a_variable_without_its_sign_is_told_beside_an_error_that_does_not_name_it() -> None:
    tasks = """\
    a:
      human: {title: x, users: [u], dueby: 1d}
      on-success: [{b: <% task().result.note = n %>}]
    b: {action: x}
"""
    assert _told(tasks, "  input: [n]\n") == {"unknown-keyword", "bare-name"}


def test_a_call_of_what_cannot_be_read_is_not_looked_into() -> None:
    text = """\
version: '2.0'
name: book
actions:
  act: {base: std.echo, input: [b, 1], base-input: {output: <% $.a %>}}
  bad: {inptu: [a], base: std.echo output=<% $.a %>}
workflows:
  sub: {inputs: [vaule], tasks: {t: {action: std.noop}}}
  w:
    tasks:
      a: {action: act x=1}
      b: {action: bad a=1}
      c: {workflow: sub vaule=1}
"""
    assert [problem.line for problem in check([Source("f.yaml", text)]).problems] == [4, 5, 7]

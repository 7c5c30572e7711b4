"""What an action lacks and what it does not take is told of its call, as far as the text says what it is given."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check


def _told(text: str) -> list[tuple[str, str, str]]:
    problems = check([Source("f.yaml", text)]).problems
    return [(problem.severity, problem.code, problem.message.partition(", but")[0]) for problem in problems]


def _of_task(task: str, more: str = "") -> list[tuple[str, str, str]]:
    return _told(f"version: '2.0'\nw:\n{more}  tasks:\n    t: {{{task}}}\n")


@pytest.mark.parametrize(
    ("task", "lacking"),
    [
        ("action: std.http", "'url' of 'std.http'"),
        ("action: std.http method=POST", "'url' of 'std.http'"),
        ("action: std.http, input: {method: GET}", "'url' of 'std.http'"),
        ("action: std.mistral_http, with-items: i in <% $ %>", "'url' of 'std.mistral_http'"),
        ("action: std.email from_addr=a subject=b", "'smtp_server', 'to_addrs' of 'std.email'"),
        ("action: std.ssh host=h", "'cmd', 'username' of 'std.ssh'"),
        ("action: std.ssh_proxied cmd=c host=h username=u", "'gateway_host' of 'std.ssh_proxied'"),
        ("action: std.js", "'script' of 'std.js'"),
        ("action: std.echo", "'output' of 'std.echo'"),
    ],
)
def test_a_standard_action_without_what_it_requires_is_hinted_at(task: str, lacking: str) -> None:
    """An environment may give it, so it is no warning."""
    assert _of_task(task) == [("hint", "missing-parameter", f"Expected input {lacking}")]


@pytest.mark.parametrize(
    "task",
    [
        "action: std.http url=u",
        "action: std.http, input: {url: <% $ %>}",
        "action: std.http method=GET, input: {url: u}",
        "action: std.http, input: <% $ %>",
        "action: <% $ %>",
        "action: 'std.<% $ %>'",
        "action: worker.http",
        "action: std.noop",
        "action: std.fail",
        "workflow: std.http",
        "description: nothing",
    ],
)
def test_a_call_that_may_have_what_it_requires_is_not(task: str) -> None:
    assert [found for found in _of_task(task) if found[1] != "unknown-workflow"] == []


def test_task_defaults_give_no_input_and_take_none() -> None:
    more = "  task-defaults: {retry: {count: 1, delay: 1}, timeout: 5}\n"
    assert _of_task("action: std.http url=u", more) == []
    assert [code for _, code, _ in _of_task("action: std.http", more)] == ["missing-parameter"]


def test_a_slip_of_a_required_input_is_told_once() -> None:
    problems = check([Source("f.yaml", "version: '2.0'\nw: {tasks: {t: {action: std.http ulr=u}}}\n")]).problems

    assert [(problem.code, problem.fix) for problem in problems] == [("wrong-parameters", "Did you mean 'url'?")]
    assert [code for _, code, _ in _of_task("action: std.email body=b adress=a")] == [
        "missing-parameter",
        "wrong-parameters",
    ]


def test_the_base_of_an_action_is_given_its_base_input_and_nothing_else() -> None:
    text = """\
version: '2.0'
get: {base: std.http, input: [url], base-input: {url: <% $.url %>}}
post: {base: std.http method=POST, input: [url]}
put: {base: std.http url=<% $.url %>, base-input: {method: PUT}, input: [url]}
"""
    assert _told(text) == [("hint", "missing-parameter", "Expected input 'url' of 'std.http'")]


def test_a_call_of_an_own_action_is_given_what_it_declares_without_a_default() -> None:
    text = """\
version: '2.0'
name: book
actions:
  get: {base: std.http url=<% $.url %>, input: [url, timeout: 5]}
workflows:
  w:
    tasks:
      a: {action: get}
      b: {action: get url=u}
      c: {action: get timeout=1, input: {url: u}}
"""
    assert _told(text) == [("hint", "missing-parameter", "Expected input 'url' of 'get'")]


def test_an_action_that_says_who_is_asked_is_called_like_any_other() -> None:
    human = "human: {title: x, users: {action: std.echo, input: {outptu: a}}}"
    assert [code for _, code, _ in _of_task(human)] == ["wrong-parameters"]
    assert [code for _, code, _ in _of_task(human.replace("outptu", "delay"))] == ["missing-parameter"]
    assert _of_task(human.replace("outptu", "output")) == []

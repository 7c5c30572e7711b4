"""`tradewind test`: mocks that stand for sub-workflows, and secrets in cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_workflow_tests import load, play, problems
from tradewind_server.engine import decide
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.runtime import batch

HIRE = """
version: '2.0'
hire:
  input: [names]
  tasks:
    accounts:
      with-items: who in <% $.names %>
      workflow: create_account
      input: {name: <% $.who %>}
      on-success: welcome
      on-error: apologise
    welcome: {action: std.echo output=<% task(accounts).result %>}
    apologise: {action: std.echo output=<% task(accounts).result %>}
create_account:
  input: [name]
  output: {login: <% $.name %>}
  tasks:
    create: {action: directory.create name=<% $.name %>}
"""
ONE = """
version: '2.0'
hire:
  tasks:
    account: {workflow: elsewhere name=Mira, timeout: 100, retry: {count: 1, delay: 5}, on-error: told}
    told: {action: std.echo output=<% task(account).state_info %>}
"""


def test_subworkflow_is_answered_by_its_input_and_when_due(tmp_path: Path) -> None:
    """Each item has the answer of the first rule that fits; what it was given is seen at the task."""
    tests = """
cases:
  a:
    input: {names: [Mira, Bo]}
    mocks:
      create_account:
        - {when: {name: Bo}, result: {login: bobo}, after: 2m}
        - result: {login: mira}
    steps:
      - advance: 119s
      - expect: {tasks: {accounts: RUNNING}}
      - advance: 1s
    then:
      state: SUCCEEDED
      inputs: {accounts: [{name: Mira}, {name: Bo}]}
      results: {welcome: [{login: mira}, {login: bobo}]}
      tasks: {create: null}
"""
    assert play(tmp_path, HIRE, tests) == {"a": ()}


def test_subworkflow_without_a_mock_is_played(tmp_path: Path) -> None:
    """A mock in one case is nothing to the next one."""
    tests = """
mocks: {directory.create: {result: null}}
cases:
  mocked:
    input: {names: [Mira]}
    mocks: {create_account: {failure: {message: full, details: {left: 0}}}}
    then: {state: SUCCEEDED, results: {apologise: [{left: 0}]}, tasks: {create: null}}
  played:
    input: {names: [Mira]}
    then: {executions: {create_account: SUCCEEDED}, results: {welcome: [{login: Mira}]}}
"""
    assert play(tmp_path, HIRE, tests) == {"mocked": (), "played": ()}


def test_subworkflow_in_another_file_is_answered_in_turn(tmp_path: Path) -> None:
    """Each attempt is a new execution, and has the next answer of the sequence."""
    tests = """
cases:
  a:
    mocks: {elsewhere: {sequence: [{failure: {message: busy}}, {result: {login: mira}}]}}
    steps: [advance: 5s]
    then: {state: SUCCEEDED, attempts: {account: 2}, results: {account: {login: mira}}}
  without one:
    then: {state: SUCCEEDED}
"""
    found = play(tmp_path, ONE, tests)
    assert found["a"] == ()
    assert found["without one"][0].startswith(
        'start: task account calls elsewhere with {"name":"Mira"}, and no mock answers it'
    )


def test_held_subworkflow_is_ended_by_a_step_a_timeout_or_a_cancel(tmp_path: Path) -> None:
    """As an action would be; and a pause does not stop it."""
    tests = """
mocks: {account: {hold: true}}
cases:
  completed:
    steps: [{pause: {}}, {complete: {task: account, result: {login: m}}}, {resume: {}}]
    then: {state: SUCCEEDED, results: {account: {login: m}}, tasks: {told: null}}
  failed:
    steps: [{fail: {task: account, message: closed}}, {advance: 5s}, {fail: {task: account, message: never}}]
    then: {state: SUCCEEDED, results: {told: never}}
  its cancel is the task's:
    steps: [cancel-action: {task: account}]
    then: {state: CANCELLED, tasks: {account: CANCELLED}}
  late:
    steps: [advance: 100s, advance: 5s, advance: 100s]
    then: {state: SUCCEEDED, tasks: {account: FAILED}}
  cancelled:
    steps: [cancel: {}]
    then: {state: CANCELLED}
"""
    assert play(tmp_path, ONE, tests) == dict.fromkeys(
        ["completed", "failed", "its cancel is the task's", "late", "cancelled"], ()
    )


def test_computed_name_of_a_workflow_meets_its_mock(tmp_path: Path) -> None:
    """Whether a definition of that name is in the files or not."""
    text = """
version: '2.0'
w:
  tasks:
    any: {with-items: "name in <% [here, there] %>", workflow: <% $.name %>}
here: {tasks: {t: {action: shop.never}}}
"""
    tests = """
cases:
  a:
    workflow: w
    mocks: {here: {result: {n: 1}}, there: {result: {n: 2}}}
    then: {results: {any: [{n: 1}, {n: 2}]}}
"""
    assert play(tmp_path, text, tests) == {"a": ()}


def test_member_of_a_workbook_is_mocked_by_its_full_name(tmp_path: Path) -> None:
    """As it is started, and as the problems call it."""
    text = """
version: '2.0'
name: book
workflows:
  main: {tasks: {t: {workflow: sub}}}
  sub: {tasks: {t: {action: shop.never}}}
"""
    tests = "cases: {a: {mocks: {book.sub: {result: {n: 1}}}, then: {results: {t: {n: 1}}}}}"
    assert play(tmp_path, text, tests) == {"a": ()}
    [problem] = load(tmp_path, text, tests.replace("book.sub", "sub")).problems
    assert (problem.code, problem.fix) == ("unknown-mock", "Known are: book.sub, shop.never, t.")


@pytest.mark.parametrize(
    ("mock", "message"),
    [
        ("{result: 7}", "Expected a mapping, for the result of a sub-workflow is its output."),
        ("{sequence: [{result: 7}]}", "Expected a mapping, for the result of a sub-workflow is its output."),
        ("[{failure: {message: m, code: c}}]", "Expected no 'code', for the failure of a sub-workflow has none"),
    ],
)
def test_answer_that_no_subworkflow_can_give_is_a_mistake(tmp_path: Path, mock: str, message: str) -> None:
    """It would show a branch that is never taken like this."""
    tests = f"cases:\n  a:\n    mocks:\n      elsewhere: {mock}\n    then: {{state: SUCCEEDED}}\n"
    assert problems(tmp_path, tests, ONE) == [("mock", 4)]
    [problem] = load(tmp_path, ONE, tests).problems
    assert problem.message.startswith(message)


def test_secret_is_expected_and_matched_as_it_is_written(tmp_path: Path) -> None:
    """A reference has marks around it that no case could write."""
    text = """
version: '2.0'
w:
  output: {token: <% secret('api.token') %>}
  tasks:
    t: {action: web.call, input: {token: "Bearer <% secret('api.token') %>"}}
"""
    tests = """
mocks:
  web.call: {when: {token: Bearer secret('api.token')}, result: 1}
cases:
  same:
    then: {inputs: {t: {token: Bearer secret('api.token')}}, output: {token: secret('api.token')}}
  other:
    then: {output: {token: secret('api.key')}}
"""
    assert play(tmp_path, text, tests) == {
        "same": (),
        "other": ("output.token: expected \"secret('api.key')\", got \"secret('api.token')\"",),
    }


LATE = """
version: '2.0'
lingers:
  tasks:
    a: {action: x.a, wait-after: 10}
repeats:
  tasks:
    a: {action: x.a, retry: {count: 1, delay: 10}}
follows:
  tasks:
    a: {workflow: elsewhere, on-success: b}
    b: {action: std.noop, wait-before: 10}
outside:
  tasks:
    a: {action: std.async_noop, wait-after: 10}
"""


def test_what_follows_an_answer_counts_from_the_answer(tmp_path: Path) -> None:
    """It counted from the call: a delay after a slow answer was over before that came."""
    tests = """
workflow: lingers
cases:
  lingers:
    mocks: {x.a: {result: 1, after: 8s}}
    steps:
      - advance: 17s
      - expect: {tasks: {a: DELAYED}}
      - advance: 1s
    then: {tasks: {a: SUCCEEDED}}
  repeats:
    workflow: repeats
    mocks: {x.a: {failure: {message: f}, after: 8s}}
    steps:
      - advance: 17s
      - expect: {tasks: {a: DELAYED}}
      - advance: 1s
    then: {tasks: {a: RUNNING}}
  follows:
    workflow: follows
    mocks: {elsewhere: {result: {n: 1}, after: 8s}}
    steps:
      - advance: 17s
      - expect: {tasks: {b: DELAYED}}
      - advance: 1s
    then: {tasks: {b: SUCCEEDED}}
  outside:
    workflow: outside
    mocks: {std.async_noop: {result: 1, after: 8s}}
    steps:
      - advance: 17s
      - expect: {tasks: {a: DELAYED}}
      - advance: 1s
    then: {tasks: {a: SUCCEEDED}}
"""
    assert play(tmp_path, LATE, tests) == dict.fromkeys(("lingers", "repeats", "follows", "outside"), ())


def test_fault_of_the_engine_fails_its_case_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended all of them with a traceback."""
    tests = """
workflow: lingers
cases:
  breaks:
    then: {state: RUNNING}
  goes on:
    workflow: outside
    then: {state: RUNNING}
"""

    def broken(spec: WorkflowSpec, *others: Any) -> Any:
        if spec.name == "lingers":
            raise ZeroDivisionError
        return decide(spec, *others)

    monkeypatch.setattr(batch, "decide", broken)
    found = play(tmp_path, LATE, tests)

    assert found["goes on"] == ()
    [told] = found["breaks"]
    assert told.startswith("start: the engine is at fault, not the workflow: see the log, error 0")

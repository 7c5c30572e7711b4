"""`tradewind test`: cases beside a definition, without a server."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.command_line import tradewind
from tradewind_server.lang import documents
from tradewind_server.testing import cases, grammar

ROOT = Path(__file__).resolve().parents[2]

CALL = """
version: '2.0'
w:
  input: [x: 1]
  output: {y: <% $.y %>}
  tasks:
    call: {action: shop.price item=<% $.x %>, publish: {y: <% task().result %>}}
"""


def play(tmp_path: Path, definition: str, tests: str) -> dict[str, tuple[str, ...]]:
    """Run *tests* of *definition* and return the differences of each case."""
    return {result.name: result.differences for result in report(tmp_path, definition, tests).results}


def report(tmp_path: Path, definition: str, tests: str, pattern: str = "") -> cases.Report:
    """Run *tests* of *definition*."""
    suite = load(tmp_path, definition, tests)
    assert suite.problems == ()
    return cases.run(suite, pattern)


def load(tmp_path: Path, definition: str, tests: str) -> cases.Suite:
    """Read *tests* of *definition*."""
    (tmp_path / "w.yaml").write_text(definition)
    (tmp_path / "w.test.yaml").write_text(tests)
    return cases.load([tmp_path])


def problems(tmp_path: Path, tests: str, definition: str = CALL) -> list[tuple[str, int]]:
    """Return code and line of each mistake in *tests*."""
    return [(problem.code, problem.line) for problem in load(tmp_path, definition, tests).problems]


# --- the example -------------------------------------------------------------------------------------------------


def test_salary_is_covered_in_milliseconds() -> None:
    """All cases pass, every branch is taken, and a whole process takes a few hundredths of a second."""
    loaded = cases.load([ROOT / "examples" / "salary"])
    found, spent = _run(loaded)
    assert [result for result in found.results if not result.passed] == []
    [(_, covered)] = found.coverage
    assert (covered.workflow, covered.is_complete, covered.tasks, covered.branches) == ("salary", True, 11, 26)
    # The best of three, the first of which warms up; of this thread alone, as what else the machine does is not theirs.
    assert min(spent, *(_run(loaded)[1] for _ in range(2))) / len(found.results) < 0.1


def _run(loaded: cases.Suite) -> tuple[cases.Report, float]:
    begun = time.thread_time()
    return cases.run(loaded), time.thread_time() - begun


# --- mocks -------------------------------------------------------------------------------------------------------


def test_mock_answers_with_its_digits(tmp_path: Path) -> None:
    """4.50 comes out as 4.50, and 4.5 would differ."""
    tests = """
mocks: {shop.price: {result: 4.50}}
cases:
  same: {then: {output: {y: 4.50}}}
  other: {then: {output: {y: 4.5}}}
"""
    assert play(tmp_path, CALL, tests) == {"same": (), "other": ("output.y: expected 4.5, got 4.50",)}


def test_call_without_a_mock_is_said(tmp_path: Path) -> None:
    """With the task, the action and its input."""
    [line] = play(tmp_path, CALL, "cases: {a: {input: {x: 7}, then: {state: RUNNING}}}")["a"]
    assert line.startswith('start: task call calls shop.price with {"item":7}, and no mock answers it')


def test_call_of_many_items_is_said_once(tmp_path: Path) -> None:
    """With the first item that nobody answers, and every task that has one."""
    text = """
version: '2.0'
w:
  tasks:
    many: {with-items: "i in <% [1, 2, 3] %>", action: shop.price item=<% $.i %>}
    one: {action: shop.price item=9}
"""
    found = play(tmp_path, text, "cases: {a: {mocks: {many: {when: {item: 1}, result: 1}}, then: {state: RUNNING}}}")
    assert [line.partition(", and")[0] for line in found["a"]] == [
        'start: task many calls shop.price with {"item":2}',
        'start: task one calls shop.price with {"item":9}',
    ]


def test_web_is_never_asked(tmp_path: Path) -> None:
    """std.http is not computed but mocked, like a worker's action."""
    text = "version: '2.0'\nw:\n  tasks:\n    t: {action: std.http url='http://127.0.0.1:9/'}\n"
    tests = "cases: {a: {then: {state: SUCCEEDED}}, b: {mocks: {t: {result: 1}}, then: {results: {t: 1}}}}"
    found = play(tmp_path, text, tests)
    assert "no mock answers it" in found["a"][0]
    assert found["b"] == ()


def test_mock_answers_whichever_worker_is_meant(tmp_path: Path) -> None:
    """A target decides where an action is done, and a mock does it everywhere."""
    text = """
version: '2.0'
w: {tasks: {t: {with-items: "site in <% [north, south] %>", action: disc.burn, target: site=<% $.site %>}}}
"""
    tests = "cases: {a: {mocks: {disc.burn: {result: 1}}, then: {state: SUCCEEDED, results: {t: [1, 1]}}}}"
    assert play(tmp_path, text, tests) == {"a": ()}


def test_pure_actions_run(tmp_path: Path) -> None:
    """They are what they are, and sleep on the virtual clock."""
    text = """
version: '2.0'
w:
  output:
    all: <% [task(echo).result, task(dict).result, task(js).result] %>
  tasks:
    nothing: {action: std.noop, on-success: echo}
    echo: {action: std.echo, input: {output: 1.50}, on-success: sleep}
    sleep: {action: std.sleep, input: {seconds: 3600}, on-success: dict}
    dict: {action: std.test_dict, input: {size: 1, key_prefix: k, val: 2}, on-success: js}
    js: {action: std.js, input: {script: return 3}, on-success: broken}
    broken: {action: std.fail, on-error: noop}
"""
    tests = """
cases:
  a:
    steps:
      - advance: 59m
      - expect: {tasks: {sleep: RUNNING, dict: null}}
      - advance: 1m
    then: {state: SUCCEEDED, output: {all: [1.50, {k0: 2}, 3]}, tasks: {broken: FAILED}}
"""
    assert play(tmp_path, text, tests) == {"a": ()}


def test_first_rule_that_fits_answers(tmp_path: Path) -> None:
    """`when` is a part of the input, at any depth."""
    tests = """
mocks:
  shop.price:
    - {when: {item: {id: 7}}, result: 5}
    - {when: {item: {id: 8}}, failure: {message: none left, code: EMPTY}}
    - {result: 9}
cases:
  part: {input: {x: {id: 7, name: n}}, then: {output: {y: 5}}}
  failure: {input: {x: {id: 8}}, then: {state: FAILED, tasks: {call: FAILED}}}
  rest: {input: {x: 7}, then: {output: {y: 9}}}
"""
    assert play(tmp_path, CALL, tests) == {"part": (), "failure": (), "rest": ()}


def test_sequence_answers_each_item_in_turn(tmp_path: Path) -> None:
    """Every item has its own first and second answer; the last one stays."""
    text = """
version: '2.0'
w:
  tasks:
    call:
      with-items: i in <% [1, 2] %>
      action: shop.price item=<% $.i %>
      retry: {count: 3, delay: 1}
"""
    tests = """
cases:
  a:
    mocks:
      shop.price: {sequence: [{failure: {message: busy}}, {failure: {message: busy}}, {result: 5}]}
    steps: [advance: 1s, expect: {attempts: {call: 2}, state: RUNNING}, advance: 1s]
    then: {state: SUCCEEDED, results: {call: [5, 5]}, inputs: {call: [{item: 1}, {item: 2}]}}
"""
    assert play(tmp_path, text, tests) == {"a": ()}


def test_mock_of_a_task_wins_over_one_of_its_action(tmp_path: Path) -> None:
    """Also over an action that would be computed."""
    text = """
version: '2.0'
w:
  tasks:
    one: {action: shop.price}
    two: {action: shop.price}
    three: {action: std.echo output=1}
"""
    tests = """
cases:
  a:
    mocks: {shop.price: {result: 1}, two: {result: 2}, three: {result: 3}}
    then: {results: {one: 1, two: 2, three: 3}}
"""
    assert play(tmp_path, text, tests) == {"a": ()}


def test_late_answer_comes_when_it_is_due(tmp_path: Path) -> None:
    """Not earlier, and not after the task's timeout."""
    text = "version: '2.0'\nw:\n  tasks:\n    t: {action: shop.price, timeout: 60}\n"
    tests = """
cases:
  in time:
    mocks: {t: {result: 1, after: 59s}}
    steps: [advance: 58s, expect: {tasks: {t: RUNNING}}, advance: 1s]
    then: {state: SUCCEEDED}
  late:
    mocks: {t: {result: 1, after: 61s}}
    steps: [advance: 2m]
    then: {tasks: {t: FAILED}}
"""
    assert play(tmp_path, text, tests) == {"in time": (), "late": ()}


def test_held_call_is_answered_by_a_step(tmp_path: Path) -> None:
    """As a worker would that takes its time."""
    tests = """
mocks: {shop.price: {hold: true}}
cases:
  complete: {steps: [advance: 1d, complete: {task: call, result: 5}], then: {output: {y: 5}}}
  fail:
    steps: [fail: {task: call, message: broken, code: BROKEN, details: d}]
    then: {state: FAILED, results: {call: d}}
  cancel: {steps: [cancel-action: {task: call}], then: {state: CANCELLED}}
"""
    assert play(tmp_path, CALL, tests) == {"complete": (), "fail": (), "cancel": ()}


def test_asynchronous_action_can_be_mocked(tmp_path: Path) -> None:
    """Then nobody has to complete it."""
    text = "version: '2.0'\nw:\n  tasks:\n    t: {action: std.async_noop}\n"
    tests = """
cases:
  mocked: {mocks: {t: {result: 1}}, then: {state: SUCCEEDED, results: {t: 1}}}
  open: {then: {state: RUNNING}}
  completed: {steps: [complete: {task: t, result: 2}], then: {results: {t: 2}}}
"""
    assert play(tmp_path, text, tests) == {"mocked": (), "open": (), "completed": ()}


def test_adhoc_action_is_mocked_by_either_name(tmp_path: Path) -> None:
    """Its output applies to the answer."""
    text = """
version: '2.0'
name: book
actions:
  price: {base: shop.price, output: {net: <% $ %>}}
workflows:
  w: {tasks: {t: {action: price}}}
"""
    tests = """
cases:
  own: {mocks: {book.price: {result: 1}}, then: {results: {t: {net: 1}}}}
  base: {mocks: {shop.price: {result: 2}}, then: {results: {t: {net: 2}}}}
"""
    assert play(tmp_path, text, tests) == {"own": (), "base": ()}


def test_computed_action_name_meets_its_mock(tmp_path: Path) -> None:
    """Its name is known only when it is called."""
    text = "version: '2.0'\nw:\n  input: [a]\n  tasks:\n    t: {action: <% $.a %>}\n"
    tests = "cases: {a: {input: {a: shop.price}, mocks: {shop.price: {result: 1}}, then: {results: {t: 1}}}}"
    assert play(tmp_path, text, tests) == {"a": ()}


# --- steps and expectations --------------------------------------------------------------------------------------


def test_operators_steps_work(tmp_path: Path) -> None:
    """Pause, resume, rerun, skip, stop and a refusal."""
    tests = """
mocks: {shop.price: {sequence: [{failure: {message: broken}}, {result: 5}]}}
cases:
  rerun: {steps: [rerun: {task: call}], then: {state: SUCCEEDED, attempts: {call: 2}}}
  skip: {steps: [skip: {task: call}], then: {tasks: {call: SKIPPED}}}
  pause:
    mocks: {shop.price: {hold: true}}
    steps: [pause: {}, expect: {state: PAUSED}, resume: {}, stop: {state: FAILED, message: enough}]
    then: {state: FAILED, message: enough}
  refused: {steps: [pause: {}], then: {refused: EXECUTION_WRONG_STATE, state: FAILED}}
"""
    assert play(tmp_path, CALL, tests) == {"rerun": (), "skip": (), "pause": (), "refused": ()}


def test_every_difference_is_said_with_its_place(tmp_path: Path) -> None:
    """All at once, not only the first."""
    text = """
version: '2.0'
w:
  output: {a: {b: [1, 2]}, c: x}
  tasks: {t: {on-success: u}, u: {action: std.noop}}
"""
    tests = """
cases:
  a:
    then:
      state: FAILED
      output: {a: {b: [1, 3]}, d: y}
      order: [u, t]
      tasks: {v: SUCCEEDED}
      events_include: [ExecutionFailed]
"""
    found = play(tmp_path, text, tests)["a"]
    assert [line.partition(";")[0] for line in found] == [
        'state: expected "FAILED", got "SUCCEEDED"',
        "output.a.b[1]: expected 3, got 2",
        'output.d: expected "y", but it is missing',
        'output.c: unexpected, got "x"',
        "order: expected u, t, but t does not come then",
        'tasks.v: expected "SUCCEEDED", got null',
        "events: number 1, {'type': 'ExecutionFailed'}, is missing",
    ]


def test_step_that_is_not_possible_is_named(tmp_path: Path) -> None:
    """With its number and kind."""
    tests = """
mocks: {shop.price: {result: 1}}
cases:
  refused: {steps: [advance: 1s, resume: {}], then: {state: SUCCEEDED}}
  carried out: {steps: [{advance: 1s, refused: EXECUTION_WRONG_STATE}], then: {state: SUCCEEDED}}
  nobody: {steps: [complete: {task: other}], then: {state: SUCCEEDED}}
"""
    found = play(tmp_path, CALL, tests)
    assert found["refused"][0].startswith("step 2 (resume): refused, EXECUTION_WRONG_STATE: Expected to resume")
    assert found["carried out"] == (
        "step 1 (advance): expected the refusal EXECUTION_WRONG_STATE, got none: the step was carried out",
    )
    assert found["nobody"] == ("step 1 (complete): task other has no action",)


def test_expecting_nobody_where_somebody_is_asked_is_a_difference(tmp_path: Path) -> None:
    """Not a traceback; nor is a person's step where nobody is asked."""
    text = """
version: '2.0'
w:
  tasks:
    ask: {human: {title: Ask, users: ann}, on-success: call}
    call: {action: std.noop}
"""
    tests = """
cases:
  nobody: {then: {people: {ask: null, call: null}}}
  no person:
    steps: [submit: {task: ask, by: ann, outcome: done}, claim: {task: call, by: ann}]
    then: {state: RUNNING}
"""
    assert play(tmp_path, text, tests) == {
        "nobody": ('people.ask: expected null, got {"state":"OFFERED","users":["ann"],"groups":[]}',),
        "no person": ("step 2 (claim): task call asks nobody",),
    }


def test_cases_know_nothing_of_each_other(tmp_path: Path) -> None:
    """What one leaves open does not go on in the next, and its time begins anew."""
    text = """
version: '2.0'
w:
  tasks:
    call: {action: shop.price, wait-before: 60, publish: {at: <% now() %>}}
"""
    tests = """
mocks: {call: {result: 1}}
cases:
  one: {steps: [advance: 30s], then: {tasks: {call: DELAYED}}}
  two: {steps: [advance: 59s], then: {tasks: {call: DELAYED}}}
  three: {steps: [advance: 60s], then: {tasks: {call: SUCCEEDED}}}
"""
    assert play(tmp_path, text, tests) == {"one": (), "two": (), "three": ()}


def test_subworkflows_beside_are_played_and_covered(tmp_path: Path) -> None:
    """Their tasks can be mocked and looked at like the others."""
    text = """
version: '2.0'
parent: {tasks: {t: {workflow: child}}}
child: {tasks: {call: {action: shop.price, on-success: {end: <% false %>}}, end: {action: std.noop}}}
"""
    tests = """
mocks: {call: {result: 1}}
cases: {a: {then: {state: SUCCEEDED, executions: {child: SUCCEEDED}, tasks: {call: SUCCEEDED, end: null}}}}
"""
    found = report(tmp_path, text, tests)
    assert [result.differences for result in found.results] == [()]
    assert [(covered.workflow, covered.is_complete) for _, covered in found.coverage] == [
        ("parent", True),
        ("child", False),
    ]


# --- coverage ----------------------------------------------------------------------------------------------------

BRANCHES = """
version: '2.0'
w:
  input: [x]
  task-defaults: {on-error: [alarm]}
  tasks:
    first:
      action: shop.price
      on-success:
        - small: <% $.x < 5 %>
        - fail: <% $.x < 0 %>
        - fail(msg='big'): <% $.x >= 5 %>
      on-complete: [both]
      on-skip: [both]
    small: {action: std.noop}
    both: {join: one}
    alarm: {join: one}
"""


def missing(tmp_path: Path, tests: str) -> tuple[list[str], list[str]]:
    """Return the tasks that were never started, and the branches never taken."""
    [(_, covered)] = report(tmp_path, BRANCHES, f"mocks: {{shop.price: {{result: 1}}}}\n{tests}").coverage
    return list(covered.never_started), [
        f"{branch.task} {branch.clause}[{branch.number}] {branch.target}" for branch in covered.never_taken
    ]


def test_coverage_tells_entries_with_one_target_apart(tmp_path: Path) -> None:
    """Which of two guards was true, and that commands count like tasks."""
    tests = """
cases:
  small: {input: {x: 1}, then: {state: SUCCEEDED}}
  big: {input: {x: 5}, then: {state: FAILED, message: big}}
"""
    assert missing(tmp_path, tests) == (
        ["alarm"],
        [
            "first on-success[1] fail",
            "first on-error[0] alarm",
            "first on-skip[0] both",
            "small on-error[0] alarm",
            "both on-error[0] alarm",
        ],
    )


def test_coverage_sees_failures_and_skips(tmp_path: Path) -> None:
    """The way of errors is a branch of every task that inherits it; on-skip is one of its own."""
    tests = """
cases:
  error: {input: {x: 1}, mocks: {first: {failure: {message: broken}}}, then: {tasks: {alarm: SUCCEEDED}}}
  skip:
    input: {x: 1}
    mocks: {first: {failure: {message: broken}}, alarm: {failure: {message: broken}}, both: {hold: true}}
    steps: [skip: {task: first}]
    then: {tasks: {first: SKIPPED, both: RUNNING}}
"""
    started, taken = missing(tmp_path, tests)
    assert started == ["small"]
    assert taken == [
        "first on-success[0] small",
        "first on-success[1] fail",
        "first on-success[2] fail",
        "small on-error[0] alarm",
        "both on-error[0] alarm",
    ]


def test_selection_says_nothing_about_branches(tmp_path: Path) -> None:
    """Those of the other cases would be missing."""
    tests = (
        "mocks: {shop.price: {result: 1}}\ncases:\n  One: {then: {state: SUCCEEDED}}\n  b: {then: {state: FAILED}}\n"
    )
    found = report(tmp_path, CALL, tests, "one")
    assert ([result.name for result in found.results], found.coverage) == (["One"], ())


# --- files that cannot be used -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "code", "line"),
    [
        ("cases: {}", "wrong-type", 1),
        ("casses: {}", "unknown-keyword", 1),
        ("cases:\n  a: {then: {}}", "nothing-expected", 2),
        ("cases:\n  a: {then: {stat: SUCCEEDED}}", "unknown-keyword", 2),
        ("cases:\n  a: {then: {state: x}}\n  a: {then: {state: x}}", "duplicate-key", 3),
        ("cases:\n  a:\n    steps: [advance: 5]\n    then: {state: x}", "wrong-type", 3),
        ("cases:\n  a:\n    steps: [advanc: 5s]\n    then: {state: x}", "unknown-step", 3),
        ("cases:\n  a:\n    steps: [start: {workflow: w}]\n    then: {state: x}", "unknown-step", 3),
        ("cases:\n  a:\n    steps: [stop: {state: PAUSED}]\n    then: {state: x}", "wrong-type", 3),
        ("cases:\n  a: {then: {order: [1]}}", "wrong-type", 2),
        ("cases:\n  a: {then: {people: {call: ann}}}", "wrong-type", 2),
        ("cases:\n  a: {then: {people: {call: {assigne: ann}}}}", "unknown-keyword", 2),
        ("cases:\n  a: {then: {events: [{task: t}]}}", "wrong-type", 2),
        ("cases:\n  a:\n    steps: [complete: {}]\n    then: {state: x}", "missing-keyword", 3),
        ("cases:\n  a:\n    steps: [complete: {task: call, item: -1}]\n    then: {state: x}", "wrong-type", 3),
        ("mocks:\n  shop.price: {}\ncases: {a: {then: {state: x}}}", "mock", 2),
        ("mocks:\n  shop.price: {result: 1, hold: true}\ncases: {a: {then: {state: x}}}", "mock", 2),
        ("mocks:\n  shop.price: {failure: {}}\ncases: {a: {then: {state: x}}}", "missing-keyword", 2),
        ("mocks:\n  shop.pric: {result: 1}\ncases: {a: {then: {state: x}}}", "unknown-mock", 2),
        ("cases:\n  a:\n    mocks:\n      shop.pric: {result: 1}\n    then: {state: x}", "unknown-mock", 4),
        ("workflow: v\ncases:\n  a: {then: {state: x}}", "workflow", 3),
        ("cases: ]", "yaml-syntax", 1),
        ("", "document-type", 1),
        ("a: 1\n---\na: 1", "document-type", 1),
    ],
)
def test_mistake_is_found_at_its_line(tmp_path: Path, tests: str, code: str, line: int) -> None:
    """Before anything is run."""
    assert (code, line) in problems(tmp_path, tests)


def test_value_that_yaml_reads_otherwise_is_warned_of(tmp_path: Path) -> None:
    """`no` and 00100 are told with their places; a flag may be written so, and nothing is kept from running."""
    tests = """\
mocks: {shop.price: {result: no}}
cases:
  a:
    input: {x: 00100}
    steps: [rerun: {task: call, reset: no}]
    then: {output: {y: false}}
"""
    suite = load(tmp_path, CALL, tests)
    assert suite.problems == ()
    assert [(each.code, each.severity, each.line, each.column) for each in suite.warnings] == [
        ("yaml-boolean", "warning", 1, 30),
        ("yaml-integer", "warning", 4, 16),
    ]
    assert [each.message for each in suite.warnings] == [
        "Expected YAML, but 'no' is read as false.",
        "Expected YAML, but '00100' is read as the number 64.",
    ]


def test_mistake_in_the_definition_is_one_here_too(tmp_path: Path) -> None:
    """A case of a definition that cannot be deployed says nothing."""
    tests = "cases: {a: {then: {state: SUCCEEDED}}}"
    assert problems(tmp_path, tests, CALL.replace("action:", "acton:")) == [("unknown-keyword", 7)]


def test_workflow_must_be_chosen_among_several(tmp_path: Path) -> None:
    """Unless one is called by no other."""
    two = "version: '2.0'\nv: {tasks: {t: {action: std.noop}}}\nw: {tasks: {t: {action: std.noop}}}\n"
    tests = "cases:\n  a: {then: {state: SUCCEEDED}}"
    assert problems(tmp_path, tests, two) == [("workflow", 2)]
    assert play(tmp_path, two, f"workflow: v\n{tests}") == {"a": ()}


JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, Decimal("0.5"), "", "5s", "SUCCEEDED", "call", [], [[]], {}, {"a": {}}, {"": [None]}]
)


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_file_is_a_mistake_or_has_differences(tmp_path: Path, data: st.DataObject) -> None:
    """Never a traceback: whatever stands in the place of something, or is missing."""
    everything: Any = documents.parse(EVERYTHING)
    places = list(_places(everything, ()))
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(places))
        with contextlib.suppress(KeyError, IndexError, TypeError):  # the first change may have taken the place away
            parent: Any = everything
            for key in path:
                parent = parent[key]
            parent[last] = copy.deepcopy(data.draw(JUNK))
    suite = load(tmp_path, CALL, documents.dump(everything))
    if not suite.problems:
        assert cases.run(suite).results


EVERYTHING = """
workflow: w
input: {x: 1}
mocks:
  shop.price: [{when: {item: 2}, failure: {message: m, code: c, details: d, retryable: false}}, {result: 1}]
cases:
  a:
    input: {x: 2}
    env: {e: 1}
    mocks: {call: {sequence: [{result: 1, after: 5s}, {hold: true}]}}
    steps:
      - {advance: 1s}
      - {pause: {message: m}}
      - {resume: {env: {e: 1}}}
      - {expect: {state: RUNNING}}
      - {complete: {task: call, result: 1, item: 0}, refused: ACTION_WITH_WORKER}
      - {stop: {state: FAILED, message: m}}
      - {rerun: {task: call, reset: true}}
    then: {state: FAILED, output: {}, tasks: {call: FAILED}, order: [call], inputs: {call: {item: 2}},
      results: {call: 1}, attempts: {call: 1}, globals: {g: 1}, executions: {w: FAILED}, people: {call: {state: x}},
      events_include: [{type: T}]}
  b: {params: {}, then: {refused: INPUT_MISSING, message: m}}
"""


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


# --- the command -------------------------------------------------------------------------------------------------

PASSES = "mocks: {shop.price: {result: 1}}\ncases: {good one: {then: {state: SUCCEEDED}}}\n"
FAILS = "mocks: {shop.price: {result: <&\x07}}\ncases: {bad one: {then: {output: {y: 1}}}}\n"


def write(tmp_path: Path, tests: str) -> str:
    """Write *tests* and the definition; return the path of the tests."""
    (tmp_path / "w.yaml").write_text(CALL)
    (tmp_path / "w.test.yaml").write_text(tests)
    return str(tmp_path / "w.test.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "options", "code"),
    [
        (PASSES, (), 0),
        (FAILS.replace("\x07", ""), (), 1),
        (PASSES, ("--all-branches",), 0),
        (PASSES, ("-k", "nothing"), 2),
        (PASSES, ("--junit", "/nowhere/file.xml"), 2),
        ("cases: 1", (), 2),
    ],
)
def test_exit_code_tells_how_it_went(tmp_path: Path, tests: str, options: tuple[str, ...], code: int) -> None:
    """0 pass, 1 failures, 2 unusable; never a traceback."""
    done = tradewind("test", write(tmp_path, tests), *options)
    assert done.returncode == code, done
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_warning_is_shown_and_fails_nothing(tmp_path: Path) -> None:
    """In the text with its line, in JSON with the fields that `tradewind check` has."""
    path = write(tmp_path, PASSES.replace("result: 1", "result: no"))
    done = tradewind("test", path)
    assert done.returncode == 0
    assert f"{path}:1:30: warning: Expected YAML, but 'no' is read as false. [yaml-boolean]" in done.stdout.decode()
    assert "1 passed" in done.stdout.decode()
    [problem] = json.loads(tradewind("test", path, "--json").stdout)["problems"]
    assert (problem["code"], problem["severity"], problem["line"]) == ("yaml-boolean", "warning", 1)


@pytest.mark.slow
def test_branch_never_taken_fails_if_asked_to(tmp_path: Path) -> None:
    """Without the option it is said only."""
    (tmp_path / "w.yaml").write_text(BRANCHES)
    (tmp_path / "w.test.yaml").write_text(
        "mocks: {shop.price: {result: 1}}\ncases: {a: {input: {x: 1}, then: {state: SUCCEEDED}}}\n"
    )
    assert tradewind("test", str(tmp_path)).returncode == 0
    done = tradewind("test", str(tmp_path), "--all-branches")
    assert done.returncode == 1
    assert "  never taken: first on-success → fail (<% $.x >= 5 %>)\n" in done.stdout.decode()
    assert "  never started: alarm\n" in done.stdout.decode()


@pytest.mark.slow
def test_json_and_junit_say_the_same(tmp_path: Path) -> None:
    """One object, one XML file; signs that XML cannot hold are replaced."""
    path = write(tmp_path, 'mocks: {shop.price: {result: "<&\\a"}}\ncases: {bad one: {then: {output: {y: 1}}}}\n')
    done = tradewind("test", path, "--json", "--junit", str(tmp_path / "junit.xml"))
    found = json.loads(done.stdout, parse_float=Decimal)
    assert (done.returncode, found["passed"], found["failed"]) == (1, 0, 1)
    [case] = found["cases"]
    assert (case["name"], case["line"], case["differences"]) == (
        "bad one",
        2,
        ['output.y: expected 1, got "<&\\u0007"'],
    )
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("1", "1")
    [element] = suites.iter("testcase")
    failure = element.find("failure")
    assert (element.get("name"), element.get("file"), element.get("line")) == ("bad one", path, "2")
    assert failure is not None
    assert failure.get("message") == case["differences"][0]


def test_nothing_there_is_said(tmp_path: Path) -> None:
    """A folder without tests, a file that is not there, a definition that is not."""
    with pytest.raises(cases.Unreadable, match="Expected files called"):
        cases.load([tmp_path])
    with pytest.raises(cases.Unreadable, match="cannot be read"):
        cases.load([tmp_path / "w.test.yaml"])
    (tmp_path / "w.test.yaml").write_text(PASSES)
    with pytest.raises(cases.Unreadable, match="w.yaml"):
        cases.load([tmp_path])


def test_other_commands_do_not_load_the_runner() -> None:
    """It is for those who write workflows."""
    code = (
        "import sys, tradewind_server.cli; print([m for m in sys.modules if m.startswith('tradewind_server.testing')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_page_names_everything_that_may_be_said() -> None:
    """Every step, every key of a file, a mock and `then`."""
    page = (ROOT / "docs" / "testing.md").read_text()
    said = set(re.findall(r"[a-z_-]+", page))
    words = {*grammar.CASE_STEPS, *grammar.EXPECTED, *grammar.TESTS, "when", "sequence", "hold", "after", "failure"}
    assert words - said == set()

from __future__ import annotations

import gc

import pytest

from tradewind_server.lang import Source, check
from tradewind_server.lang.checking import Kind
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.specs import EngineCommand, InputSpec, OnClause, Publish, Retry, Transition


def _workflow(tasks: str, more: str = "") -> str:
    return f"version: '2.0'\nw:\n{more}  tasks:\n    {tasks}\n"


#: code, line, column, path of the problem, the text, and the kind where it is forced.
_PROBLEMS: list[tuple[str, int, int, str, str, Kind | None]] = [
    ("yaml-syntax", 2, 6, "", "a: [\n  b: }\n", None),
    ("yaml-tag", 4, 22, "w.tasks.t.publish.a", _workflow("t: {publish: {a: !x 1}}"), None),
    ("yaml-number", 4, 28, "w.tasks.t.publish.b", _workflow("t: {publish: {a: 1, b: .inf}}"), None),
    ("duplicate-key", 5, 5, "w.tasks.t", _workflow("t: {action: a}\n    t: {action: b}"), None),
    ("document-type", 1, 1, "", "just text", None),
    ("document-type", 1, 1, "", "", None),
    ("version", 1, 1, "", "w: {tasks: {t: {action: a}}}", None),
    ("version", 1, 10, "version", "version: '3.0'\nw: {tasks: {t: {action: a}}}", None),
    ("no-members", 1, 1, "", "version: 2.0", None),
    ("unknown-keyword", 4, 9, "w.tasks.t.actoin", _workflow("t: {actoin: a}"), None),
    ("missing-keyword", 2, 1, "w", "version: 2\nw: {description: x}", None),
    ("wrong-type", 4, 22, "w.tasks.t.wait-before", _workflow("t: {wait-before: 0.5}"), None),
    ("expression-syntax", 4, 39, "w.tasks.t.action", _workflow("t: {action: std.echo output=<% 1 +* 2 %>}"), None),
    ("duplicate-item", 3, 14, "w.input[1]", _workflow("t: {action: a}", "  input: [a, a]\n"), None),
    ("guard", 4, 26, "w.tasks.t.on-success[0].u", _workflow("t: {on-success: [{u: 'yes'}]}\n    u: {action: a}"), None),
    ("transition", 4, 22, "w.tasks.t.on-success[0]", _workflow("t: {on-success: ['a b']}"), None),
    ("unknown-task", 4, 21, "w.tasks.t.on-success", _workflow("t: {on-success: tt}"), None),
    ("no-start-task", 3, 3, "w.tasks", _workflow("t: {on-success: t}"), None),
    ("join-cardinality", 4, 9, "w.tasks.t.join", _workflow("t: {join: all}"), None),
    (
        "requirement-cycle",
        5,
        9,
        "w.tasks.a.requires",
        _workflow("a: {requires: b}\n    b: {requires: a}", "  type: reverse\n"),
        None,
    ),
    ("wrong-workflow-type", 4, 9, "w.tasks.t.requires", _workflow("t: {requires: t}"), None),
    ("exclusive-keywords", 4, 20, "w.tasks.t.workflow", _workflow("t: {action: a, workflow: b}"), None),
    (
        "with-items",
        4,
        34,
        "w.tasks.t.with-items[1]",
        _workflow("t: {with-items: ['i in [1]', 'i in [2]'], action: a}"),
        None,
    ),
    ("with-items", 4, 21, "w.tasks.t.with-items", _workflow("t: {with-items: i of <% $.l %>, action: a}"), None),
    ("name-too-long", 4, 5, f"w.tasks.{'x' * 256}", _workflow(f"{'x' * 256}: {{action: a}}"), None),
    ("invalid-name", 2, 1, "my w", "version: 2\nmy w: {tasks: {t: {action: a}}}", None),
    (
        "duplicate-name",
        4,
        1,
        "w",
        "version: 2\nw: {tasks: {t: {action: a}}}\n---\nw: {tasks: {t: {action: a}}}\nversion: 2",
        None,
    ),
    ("missing-keyword", 1, 1, "", "version: 2\nworkflows: {w: {tasks: {t: {action: a}}}}", "workbook"),
    ("missing-keyword", 2, 1, "act", "version: 2\nact: {input: [a]}", "actions"),
]

#: Accepted, but a trap.
_WARNINGS: list[tuple[str, int, int, str, str]] = [
    ("boolean-key", 4, 19, "w.tasks.t.publish", _workflow("t: {publish: {on: 1}}")),
    ("reserved-name", 4, 5, "w.tasks.fail", _workflow("fail: {action: a}")),
    ("expression-in-default", 3, 14, "w.input[0].a", _workflow("t: {action: a}", "  input: [a: '<% 1 %>']\n")),
    ("odd-input", 3, 14, "w.input[1]", _workflow("t: {action: a}", "  input: [a, 'b:1']\n")),
    ("odd-input", 3, 14, "w.input[1]", _workflow("t: {action: a}", "  input: [a, b = 1]\n")),
    ("duplicate-input", 3, 14, "w.input[1]", _workflow("t: {action: a}", "  input: [a, a: 1]\n")),
    (
        "publish-conflict",
        5,
        26,
        "w.tasks.t.publish.x",
        _workflow("t:\n      publish: {a: 1, x: 2}\n      on-complete: {publish: {branch: {x: 1}}}"),
    ),
    ("parameter-twice", 4, 35, "w.tasks.t.input.b", _workflow("t: {action: a b=1, input: {b: 2}}")),
    ("unused-parameter", 4, 21, "w.tasks.t.on-success", _workflow("t: {on-success: 'fail text=1'}")),
    ("unused-text", 4, 17, "w.tasks.t.action", _workflow("t: {action: a word}")),
    ("unused-concurrency", 4, 9, "w.tasks.t.concurrency", _workflow("t: {concurrency: 1}")),
    ("text-input", 4, 16, "w.tasks.t.input", _workflow("t: {input: text}")),
    ("unclosed-expression", 4, 25, "w.tasks.t.publish.a", _workflow("t: {publish: {a: 'x <% 1'}}")),
    ("unclosed-expression", 4, 22, "w.tasks.t.publish.a", _workflow("t: {publish: {a: '{{ 1 }'}}")),
    ("unclosed-expression", 4, 22, "w.tasks.t.publish.a", _workflow("t: {publish: {a: '{% if 1 }'}}")),
    ("expression-syntax", 4, 30, "w.tasks.t.publish.a[0][0]", _workflow("t: {publish: {a: [['<% ( %>']]}}")),
    ("base-is-itself", 2, 13, "act.base", "version: 2\nact: {base: act}"),
    ("expression-in-base", 2, 13, "act.base", "version: 2\nact: {base: <% a %>}"),
]


@pytest.mark.parametrize(
    ("code", "line", "column", "path", "text", "kind"), _PROBLEMS, ids=lambda value: str(value)[:24]
)
def test_errors_are_told_with_their_place(
    code: str, line: int, column: int, path: str, text: str, kind: Kind | None
) -> None:
    checked = check([Source("f.yaml", text)], kind)

    errors = [problem for problem in checked.problems if problem.severity == "error"]
    assert [(problem.code, problem.file) for problem in errors] == [(code, "f.yaml")]
    assert (errors[0].line, errors[0].column) == (line, column)
    assert errors[0].path == path
    assert errors[0].message.startswith("Expected ")
    assert errors[0].message.endswith(".")


@pytest.mark.parametrize(("code", "line", "column", "path", "text"), _WARNINGS, ids=lambda value: str(value)[:24])
def test_traps_are_warned_of(code: str, line: int, column: int, path: str, text: str) -> None:
    checked = check([Source("f.yaml", text)])

    assert checked.is_valid
    assert [problem.code for problem in checked.problems] == [code]
    assert (checked.problems[0].line, checked.problems[0].column) == (line, column)


def test_all_problems_are_told_in_one_pass() -> None:
    text = """\
version: '2.0'
w:
  outputs: {}
  input: {a: 1}
  tasks:
    t1: {action: std.noop, on-sucess: t2}
    t2: {on-success: nowhere, retry: {count: 1}}
    t3: {join: all, publish: {x: '<% ( %>'}}
"""
    checked = check([Source("a.yaml", text), Source("b.yaml", "- 1")])

    assert checked.workflows == ()
    assert [(problem.file, problem.line, problem.code) for problem in checked.problems] == [
        ("a.yaml", 3, "unknown-keyword"),
        ("a.yaml", 4, "wrong-type"),
        ("a.yaml", 6, "unknown-keyword"),
        ("a.yaml", 7, "unknown-task"),
        ("a.yaml", 7, "missing-keyword"),
        ("a.yaml", 8, "join-cardinality"),
        ("a.yaml", 8, "expression-syntax"),
        ("b.yaml", 1, "document-type"),
    ]
    assert checked.problems[2].fix == "Did you mean 'on-success'?"


def test_a_broken_expression_is_told_at_its_offset() -> None:
    text = _workflow("t: {publish: {a: '<% 1 +* 2 %>', b: x <% ( %>}}")

    checked = check([Source("f.yaml", text)])

    assert [(problem.line, problem.column) for problem in checked.problems] == [(4, 29), (4, 48)]


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("<% $.nope %>", 7, 14),
        ("|\n        hello\n          and <% $.nope %>", 9, 18),
        (">- # why\n        hello <% $.x %>\n\n        and <% $.nope %>", 10, 16),
        ("hello\n        and <% $.x\n        + $.nope %>", 9, 11),
        ('"a\\t \\"b\\" \\u00e4 <% $.nope %>"', 7, 32),
        ('"one \\\n        two <% $.nope %>"', 8, 16),
        ("'it''s <% $.nope %>'", 7, 21),
    ],
)
def test_a_name_is_told_where_it_is_written(written: str, line: int, column: int) -> None:
    text = f"version: '2.0'\nw:\n  input: [x]\n  tasks:\n    t:\n      publish:\n       a: {written}\n"

    checked = check([Source("f.yaml", text)])

    found = [(problem.code, problem.line, problem.column) for problem in checked.problems]
    assert found == [("unknown-variable", line, column)]


@pytest.mark.parametrize(
    "task",
    ["pause-before: yes", "keep-result: on", "fail-on: off", "human: {title: x, users: [a], quorum: {sequential: no}}"],
)
def test_a_boolean_that_is_meant_may_be_written_in_words(task: str) -> None:
    assert check([Source("f.yaml", _workflow(f"t: {{{task}}}"))]).problems == ()


def test_a_boolean_word_where_a_text_may_be_meant_is_told() -> None:
    text = _workflow("t: {pause-before: yes, description: no, publish: {a: on}}")

    assert [(each.code, each.column) for each in check([Source("f.yaml", text)]).problems] == [
        ("yaml-boolean", 41),
        ("yaml-boolean", 58),
    ]


@pytest.mark.parametrize(
    "tasks",
    [
        "t: {publish: {a: {{ _.x }}}}",
        "t:\n      publish:\n        a: {{ _.x }}",
        "t: {publish: {a: <% $.x[0] %>}}",
        "t: {publish: {a: <% [1, 2] %>}}",
        "t: {action: std.echo output=<% dict(a: 1) %>}",
        "t:\n      action: std.echo output=<% json_parse('{\"a\": 1}') %>",
    ],
)
def test_an_expression_that_needs_quotes_is_told_so(tasks: str) -> None:
    checked = check([Source("f.yaml", _workflow(tasks))])

    assert [problem.code for problem in checked.problems] == ["yaml-syntax"]
    assert checked.problems[0].fix.startswith("Put the whole text with the expression in quotes")


def test_a_tab_is_told_as_one() -> None:
    (problem,) = check([Source("f.yaml", "version: '2.0'\nw:\n\ttasks: x\n")]).problems

    assert (problem.line, problem.column) == (3, 1)
    assert problem.fix == "Indent with blanks: YAML takes no tabs."


def test_a_character_that_yaml_refuses_is_told_at_its_place() -> None:
    (problem,) = check([Source("f.yaml", _workflow("t: {action: a\0b}"))]).problems

    assert (problem.line, problem.column) == (4, 18)
    assert problem.fix == "Remove the character."


def test_a_task_is_read_whole() -> None:
    text = """\
version: '2.0'
w:
  input: [a, b: 1]
  task-defaults:
    on-error: [clean, other]
    pause-before: true
  tasks:
    t:
      action: std.http url="u" timeout=5
      with-items: [i in <% $.l %>, 'j in [1, 2]']
      retry: count=3 delay=<% 1 + 1 %>
      pause-before: false
      join: 0
      on-success:
        publish: {branch: {x: 1}, global: {y: 2}}
        next: [clean, {fail(msg="no"): <% $.x %>}]
      on-complete: {clean: <% $.ok %>}
    clean: {workflow: sub}
    other: {action: std.noop}
"""
    (workflow,) = check([Source("f.yaml", text)]).workflows
    task, clean = workflow.tasks["t"], workflow.tasks["clean"]

    assert workflow.input == (InputSpec("a", True), InputSpec("b", False, 1))
    assert workflow.start_tasks == ("t",)
    assert workflow.inbound == {"t": (), "clean": ("t", "other"), "other": ("t", "clean")}
    assert (task.name, task.line, task.kind, task.join) == ("t", 8, "action", None)
    assert {key: item.source for key, item in task.parameters.items()} == {"url": "u", "timeout": 5}
    assert [(name, items.source) for name, items in task.with_items] == [("i", "<% $.l %>"), ("j", [1, 2])]
    assert isinstance(task.retry, Retry)
    assert (task.retry.count.source, task.retry.delay.source) == (3, "<% 1 + 1 %>")
    assert task.pause_before == Template.constant(False)
    assert clean.pause_before == Template.constant(True)
    assert task.on_success is not None
    assert task.on_success.publish == Publish(Template.constant({"x": 1}), Template.constant({"y": 2}))
    assert [(entry.target, entry.command) for entry in task.on_success.next] == [
        ("clean", None),
        ("fail", EngineCommand.FAIL),
    ]
    assert task.on_success.next[1].message == Template.constant("no")
    assert task.on_complete is not None
    assert task.on_complete.next[0].guard is not None
    assert task.on_error == OnClause((Transition("clean"), Transition("other")))
    assert clean.on_error == OnClause((Transition("other"),))
    assert clean.kind == "workflow"


def test_workbook_members_have_its_name() -> None:
    text = """\
version: '2.0'
name: b
actions:
  act: {base: std.echo output="x", base-input: {delay: 1}}
workflows:
  w: {tasks: {t: {action: act}}}
"""
    checked = check([Source("f.yaml", text)])

    assert checked.problems == ()
    assert [(spec.name, spec.workbook) for spec in checked.workflows] == [("b.w", "b")]
    assert [(spec.name, spec.workbook) for spec in checked.actions] == [("b.act", "b")]
    assert {key: item.source for key, item in checked.actions[0].base_input.items()} == {"delay": 1, "output": "x"}


def test_kinds_are_found_out_document_by_document() -> None:
    text = "version: 2\nact: {base: std.noop}\n---\nversion: 2\nw: {tasks: {t: {action: act}}}\n"

    checked = check([Source("f.yaml", text)])

    assert ([spec.name for spec in checked.actions], [spec.name for spec in checked.workflows]) == (["act"], ["w"])


def test_a_check_leaves_frozen_what_a_server_has_frozen() -> None:
    """Or the search for garbage would look through all that is loaded, again and again, after the first deployment."""
    loaded = [object()]
    gc.freeze()
    try:
        checked = check([Source("f.yaml", _workflow("t: {action: a}"))])
        # Objects one by one: their number also falls when something frozen is freed, as a cache does meanwhile.
        searched = {id(held) for held in gc.get_objects()}
        assert id(loaded) not in searched
        assert id(checked) in searched
    finally:
        gc.unfreeze()

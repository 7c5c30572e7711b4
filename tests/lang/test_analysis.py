"""Static analysis: what is told, and what is not told though it looks alike."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Checked, Source, check, read


def _check(tasks: str, more: str = "") -> Checked:
    return check([Source("f.yaml", f"version: '2.0'\nw:\n{more}  tasks:\n{tasks}")])


def _told(tasks: str, more: str = "") -> list[tuple[str, int]]:
    return [(problem.code, problem.line) for problem in _check(tasks, more).problems]


# --- variables -----------------------------------------------------------------------------------

_QUIET_READS = [
    "<% $.get(x) %>",
    "<% $.get('x', 0) %>",
    "<% $.containsKey(x) and $.x > 1 %>",
    "<% $.list.where($.x > 1) %>",
    "<% $.list.select(dict(a => $.x)) %>",
    "<% $.list.select($) %>",
    "{{ __env.k }}",
    "<% env().x %>",
    "<% global(x) %>",
    "<% $ %>",
    "{{ _.x | default(1) }}",
    "{{ _.x if _.x is defined else 0 }}",
    "{{ _.x if 'x' in _ else 0 }}",
    "{{ _.get('x') }}",
    "{% for x in _.list %}{{ x }}{% endfor %}",
    "{{ range(3) | list }}",
    "{{ env().x }}",
]


@pytest.mark.parametrize("expression", _QUIET_READS)
def test_what_may_be_missing_or_means_something_else_is_not_told(expression: str) -> None:
    assert _told(f"    t: {{action: a, input: {{v: {expression!r}}}}}\n", "  input: [list]\n") == []


@pytest.mark.parametrize(
    "expression",
    [
        "<% $.x %>",
        "<% $.x.y.z %>",
        "<% $['x'] %>",
        "<% len($.x) %>",
        "a <% 1 %> b <% $.x %>",
        "{{ _.x }}",
        "{{ _['x'] }}",
    ],
)
def test_reading_what_nothing_sets_is_told(expression: str) -> None:
    assert _told(f'    t: {{action: a, input: {{v: "{expression}"}}}}\n') == [("unknown-variable", 4)]


@pytest.mark.parametrize(
    "place",
    [
        "retry: {count: <% $.x %>, delay: 1}",
        "wait-before: <% $.x %>",
        "with-items: i in <% $.x %>",
        "publish: {a: {b: [<% $.x %>]}}",
        "on-success: [{noop: <% $.x %>}, fail]",
        "on-success: ['fail(msg=<% $.x %>)']",
        "on-success: {publish: {global: {g: <% $.x %>}}}",
        "keep-result: <% $.x %>",
    ],
)
def test_variables_are_looked_for_wherever_expressions_stand(place: str) -> None:
    assert _told(f"    t:\n      action: a\n      {place}\n") == [("unknown-variable", 6)]


def test_vars_do_not_see_each_other_but_output_sees_everything() -> None:
    more = "  input: [i]\n  vars: {a: <% $.i %>, b: <% $.a %>}\n  output: {x: <% $.p %>, y: <% $.b %>}\n"
    assert _told("    t: {action: s, publish: {p: 1}}\n", more) == [("unknown-variable", 4)]


def test_an_outcome_publishes_its_own_variables() -> None:
    """publish after a success, publish-on-error after a failure, on-complete after both."""
    tasks = """\
    t:
      action: a
      publish: {good: 1}
      publish-on-error: {bad: 1}
      on-complete: {publish: {branch: {both: 1}}}
      on-success: s
      on-error: e
    s: {action: use, input: {x: <% $.good %>, y: <% $.both %>, z: <% $.bad %>}}
    e: {action: use, input: {x: <% $.bad %>, y: <% $.both %>, z: <% $.good %>}}
"""
    assert _told(tasks) == [("unpublished-variable", 11), ("unpublished-variable", 12)]


@pytest.mark.parametrize("policy", ["fail-on: <% task().result %>", "retry: {count: 1, delay: 1}", "timeout: 5"])
def test_a_success_that_may_still_fail_leaves_its_variables(policy: str) -> None:
    tasks = f"""\
    t: {{action: a, publish: {{good: 1}}, on-error: e, {policy}}}
    e: {{action: use, input: {{x: <% $.good %>}}}}
"""
    assert _told(tasks) == []


def test_guards_see_what_their_task_publishes_and_inputs_do_not() -> None:
    tasks = """\
    t:
      action: use x=<% $.p %>
      publish: {p: 1}
      on-success: [{u: <% $.p > 0 %>}]
    u: {action: use x=<% $.p %>}
"""
    assert _told(tasks) == [("unpublished-variable", 5)]


def test_loops_bring_variables_back() -> None:
    tasks = """\
    start: {on-success: a}
    a:
      action: use x=<% $.get(n) %>
      on-success: [{b: <% $.get(n) %>}]
    b:
      action: use x=<% $.n %>
      on-success: c
    c:
      action: use x=1
      publish: {n: 1}
      on-success: a
"""
    assert _told(tasks) == []


def test_global_variables_are_seen_in_every_branch() -> None:
    tasks = """\
    t: {action: a, on-success: {publish: {global: {g: 1}}}}
    u: {action: use x=<% $.g %>}
"""
    assert _told(tasks) == []


def test_a_join_brings_the_variables_of_all_branches() -> None:
    tasks = """\
    t: {action: a, publish: {x: 1}, on-success: j}
    u: {action: a, publish: {y: 1}, on-success: j}
    j: {join: all, action: use x=<% $.x %> y=<% $.y %>}
"""
    assert _told(tasks) == []


def test_loop_variables_are_seen_in_the_call_only() -> None:
    tasks = "    t: {with-items: 'i in [1, 2]', action: use x=<% $.i %>, publish: {all: <% $.i %>}}\n"
    assert _told(tasks) == [("unknown-variable", 4)]


def test_a_reverse_task_sees_what_it_requires() -> None:
    tasks = """\
    a: {action: s, publish: {x: 1}}
    b: {action: use x=<% $.x %>, requires: a}
    c: {action: use x=<% $.x %>}
"""
    assert _told(tasks, "  type: reverse\n") == [("other-branch-variable", 7)]


def test_what_could_not_be_read_does_not_make_more_problems() -> None:
    """`publsh` was meant to set x; y is set by nothing that anybody meant."""
    tasks = """\
    t: {action: a, publsh: {x: 1}, on-sucess: u}
    u: {action: use x=<% $.x %> y=<% $.y %>}
"""
    assert _told(tasks) == [("unknown-keyword", 4), ("unknown-keyword", 4), ("unknown-variable", 5)]


def test_a_place_in_a_text_is_found_in_quotes_and_in_blocks() -> None:
    tasks = """\
    t: {action: use, input: {v: 'a <% $.x %>'}}
    u:
      action: use
      input:
        v: >-
          a <% $.x %>
"""
    assert [(problem.line, problem.column) for problem in _check(tasks).problems] == [(4, 39), (9, 16)]


# --- how tasks hang together ---------------------------------------------------------------------


def test_a_join_of_success_and_failure_is_impossible_also_from_afar() -> None:
    tasks = """\
    t: {action: a, on-success: [good, other], on-error: bad}
    good: {action: a, on-success: j}
    other: {action: a, on-success: j}
    bad: {action: a, on-success: worse}
    worse: {action: a, on-complete: j}
    j: {join: all, action: a}
"""
    assert _told(tasks) == [("impossible-join", 9)]


@pytest.mark.parametrize(
    ("join", "told"),
    [("all", [("impossible-join", 7)]), ("2", [("impossible-join", 7)]), ("one", []), ("1", [])],
)
def test_a_join_of_a_guard_and_its_negation(join: str, told: list[tuple[str, int]]) -> None:
    tasks = f"""\
    t: {{action: a, on-success: [{{l: <% $.n = 1 %>}}, {{r: <% $.n != 1 %>}}]}}
    l: {{action: a, on-success: j}}
    r: {{action: a, on-success: j}}
    j: {{join: {join}, action: a}}
"""
    assert [(code, line - 1) for code, line in _told(tasks, "  input: [n]\n")] == told


@pytest.mark.parametrize(
    "t",
    [
        # both can be true
        "t: {action: a, on-success: [{l: <% $.n = 1 %>}, {r: <% $.n = 2 %>}]}",
        # l and r are chosen in different runs of t
        "t: {action: a, on-success: [t, l], on-error: r}\n    s: {on-success: t}",
        # l may come without t
        "t: {action: a, on-success: l, on-error: r}\n    s: {on-success: [l, r]}",
    ],
)
def test_a_join_that_may_happen_is_not_told(t: str) -> None:
    tasks = f"""\
    {t}
    l: {{action: a, on-success: j}}
    r: {{action: a, on-success: j}}
    j: {{join: all, action: a}}
"""
    assert _told(tasks, "  input: [n]\n") == []


@pytest.mark.parametrize(("join", "is_impossible"), [("all", True), ("3", True), ("2", False), ("one", False)])
def test_a_join_behind_a_dead_end_is_impossible_if_it_needs_that_branch(join: str, is_impossible: bool) -> None:
    tasks = f"""\
    s: {{action: a, on-success: j}}
    t: {{action: a, on-success: [j, {{u: <% false %>}}]}}
    u: {{action: a, on-success: j}}
    j: {{join: {join}, action: a}}
"""
    told = [("dead-guard", 5), ("unreachable-task", 6)]
    assert _told(tasks) == told + [("impossible-join", 7)] * is_impossible


_FORK = """\
    s: {action: a, publish: {x: 0}, on-success: [l, r]}
    l: {action: a, %s on-success: j}
    r: {action: a, %s on-success: j}
    j: {join: all, action: use x=<%% $.x %%>}
"""


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("publish: {x: <% 1 %>},", "publish: {x: <% 2 %>},", [("join-conflict", 7)]),
        ("publish: {x: 1},", "publish: {x: 2},", [("join-conflict", 7)]),
        # one branch is newer than what was there before both
        ("publish: {x: 1},", "", []),
        ("publish: {x: 1},", "publish: {y: 1},", []),
        # the join follows successes only
        ("publish-on-error: {x: 1},", "publish-on-error: {x: 2},", []),
        ("publish: {x: 1},", "publish-on-error: {x: 2},", []),
    ],
)
def test_two_branches_that_publish_the_same(left: str, right: str, told: list[tuple[str, int]]) -> None:
    assert _told(_FORK % (left, right)) == told


_DEPENDS = "the branch wins that publishes it more often, or else the one later in the text"


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        (
            "b1: {publish: {k: 1}, on-success: b2}\n    b2: {publish: {k: 2}, on-success: j}\n"
            "    c: {publish: {k: 3}, on-success: j}\n    j: {join: all}",
            "the branch that ends with 'b2' wins, for it publishes 'k' more often",
        ),
        (
            "b: {publish: {k: 1}, on-success: j}\n    c: {publish: {k: 3}, on-success: d}\n    d: {on-success: j}\n"
            "    j: {join: 2}",
            "the branch that ends with 'd' wins, for it comes later in the text",
        ),
        (  # both orders decide: 'c' is later than 'b', and oftener than 'd'
            "a: {publish: {k: 0}, on-success: [b, c, d]}\n    b: {publish: {k: 1}, on-success: j}\n"
            "    c: {publish: {k: 3}, on-success: j}\n    d: {on-success: j}\n    j: {join: all}",
            "the branch that ends with 'c' wins",
        ),
        (  # it is not known how often the loop goes round
            "b: {publish: {k: 1}, on-success: [j, {b: <% task().id = '1' %>}]}\n"
            "    s: {on-success: b}\n    c: {publish: {k: 3}, on-success: j}\n    j: {join: all}",
            _DEPENDS,
        ),
        (  # nor whether the failure comes, that publishes nothing
            "b: {publish: {k: 1}, on-complete: b2}\n    b2: {publish: {k: 2}, on-success: j}\n"
            "    c: {publish: {k: 3}, on-success: j}\n    j: {join: all}",
            _DEPENDS,
        ),
        (  # nor who comes first
            "b: {publish: {k: 1}, on-success: j}\n    c: {publish: {k: 2}, on-success: j}\n"
            "    d: {on-success: j}\n    j: {join: 2}",
            _DEPENDS,
        ),
        (
            "b: {publish: {k: {x: 1}}, on-success: j}\n    c: {publish: {k: {y: 1}}, on-success: j}\n"
            "    j: {join: all}",
            "dictionaries are merged key by key, and for keys in both "
            "the branch that ends with 'c' wins, for it comes later in the text",
        ),
        (
            "b: {publish: {k: <% task().result %>}, on-success: j}\n    c: {publish: {k: {y: 1}}, on-success: j}\n"
            "    j: {join: all}",
            "the branch that ends with 'c' wins, for it comes later in the text; two dictionaries are merged",
        ),
        (
            "b: {publish: {k: <% task().result %>}, on-success: j}\n    c: {publish: {k: [1]}, on-success: j}\n"
            "    j: {join: all}",
            "the branch that ends with 'c' wins, for it comes later in the text",
        ),
    ],
)
def test_who_wins_at_a_join_is_said_as_it_is(tasks: str, told: str) -> None:
    fixes = [problem.fix for problem in _check(f"    {tasks}\n").problems if problem.code == "join-conflict"]
    assert fixes == [f"Publish under different names; here {told}."]


def test_branches_that_publish_the_same_constant_agree() -> None:
    tasks = """\
    l: {action: a, publish: {done: true}, on-success: j}
    r: {action: a, publish: {done: true}, on-success: j}
    j: {join: all, action: use x=<% $.done %>}
"""
    assert _told(tasks) == []


def test_a_chain_that_ends_in_a_join_has_no_conflict() -> None:
    """r goes on from l, so its value is the newer one."""
    tasks = """\
    l: {action: a, publish: {x: 1}, on-success: [r, j]}
    r: {action: a, publish: {x: 2}, on-success: j}
    j: {join: all, action: use x=<% $.x %>}
"""
    assert _told(tasks) == []


@pytest.mark.parametrize("guard", ["<% task().result %>", "<% uuid() = '1' %>", "<% $ %>", "{{ _ }}", "<% env().x %>"])
def test_a_guard_that_looks_at_the_run_is_alive(guard: str) -> None:
    assert (
        _told(f"    t: {{action: a, on-success: [{{u: '{guard}'}}]}}\n    u: {{action: a}}\n".replace("'1'", "1")) == []
    )


@pytest.mark.parametrize("guard", ["<% 1 > 2 %>", "<% false %>", "{{ 1 == 2 }}", "<% '' %>", "<% null %>"])
def test_a_guard_that_never_holds_is_dead_and_what_it_guards_is_too(guard: str) -> None:
    tasks = f'    t: {{action: a, on-success: [{{u: "{guard}"}}]}}\n    u: {{action: a}}\n'
    assert _told(tasks) == [("dead-guard", 4), ("unreachable-task", 5)]


@pytest.mark.parametrize(
    "more",
    [
        "on-error: u",
        "on-error: [noop, u]",
        "on-error: noop, publish-on-error: {e: 1}",
        "on-error: {publish: {branch: {e: 1}}, next: noop}",
        "on-error: fail",
        "on-error: 'succeed msg=\"late\"'",
        "on-error: [{noop: <% $.n %>}]",
    ],
)
def test_a_failure_that_leaves_a_trace_is_not_hidden(more: str) -> None:
    assert _told(f"    t: {{action: a, on-success: u, {more}}}\n    u: {{action: a}}\n", "  input: [n]\n") == []


@pytest.mark.parametrize(
    ("clause", "more", "is_told"),
    [
        ("{publish: {branch: {e: 1}}}", "", True),
        ("{publish: {global: {e: 1}}}", "", True),
        ("{publish: {branch: {e: 1}}, next: noop}", "", False),
        ("{publish: {branch: {e: 1}}}", "  output-on-error: {e: <% $.e %>}\n", False),
    ],
)
def test_a_failure_that_is_published_only_is_told_to_be_unhandled(clause: str, more: str, is_told: bool) -> None:
    tasks = f"    t: {{action: a, on-error: {clause}}}\n"
    assert _told(tasks, more) == [("unhandled-failure", 4)] * is_told


# --- what is called ------------------------------------------------------------------------------


def test_actions_of_workers_are_no_problem_unless_nearly_known() -> None:
    text = """\
version: '2.0'
send_invoice: {base: std.echo output=1}
---
version: '2.0'
w:
  tasks:
    t: {action: shop.anything}
    u: {action: send_invoic}
    v: {action: <% $.name %>}
  input: [name]
"""
    problems = check([Source("f.yaml", text)]).problems
    assert [(problem.code, problem.line, problem.fix) for problem in problems] == [
        ("unknown-action", 8, "Did you mean 'send_invoice'?")
    ]


def test_a_name_that_is_called_in_many_places_is_compared_once() -> None:
    """Comparisons are bounded; what many tasks call must not use them up."""
    tasks = "".join(f"    t{n}: {{action: shop.ship}}\n" for n in range(5_000)) + "    last: {action: std.ech}\n"
    problems = _check(tasks).problems
    assert [(problem.code, problem.fix) for problem in problems] == [("unknown-action", "Did you mean 'std.echo'?")]


def test_names_are_known_over_files_and_in_a_workbook() -> None:
    book = """\
version: '2.0'
name: b
actions:
  act: {base: std.echo output=<% $.x %>, input: [x]}
workflows:
  one: {input: [must, may: 1], tasks: {t: {action: act x=1}}}
  two: {tasks: {t: {workflow: one must=1}, u: {workflow: other}}}
"""
    other = "version: '2.0'\nother: {tasks: {t: {workflow: b.one}}}\n"
    problems = check([Source("a.yaml", book), Source("b.yaml", other)]).problems
    assert [(problem.file, problem.code, problem.line) for problem in problems] == [("b.yaml", "wrong-parameters", 2)]


@pytest.mark.parametrize(
    ("call", "column"),
    [
        ("{workflow: sub customr=1}", 23),
        ("{workflow: sub, input: {customr: 1}}", 32),
        ("{workflow: sub customer=1 task_name=x priority=2 own=3}", 0),
        ("{workflow: sub, input: <% $.x %>}", 0),
    ],
)
def test_a_misspelt_input_of_a_sub_workflow_is_told_and_a_parameter_of_its_start_is_not(call: str, column: int) -> None:
    sub = "sub:\n  input: [customer: nobody]\n  tasks:\n    t: {action: a}\n"

    problems = _check(f"    t: {call}\n{sub}", "  input: [x]\n").problems

    assert [(problem.code, problem.column, problem.fix) for problem in problems] == (
        [("wrong-parameters", column, "Did you mean 'customer'?")] if column else []
    )


def test_a_workflow_that_is_deployed_is_known() -> None:
    text = "version: '2.0'\nw: {tasks: {t: {workflow: elsewhere}}}\n"
    assert [problem.code for problem in check([Source("f", text)]).problems] == ["unknown-workflow"]
    assert check([Source("f", text)], is_deployed=lambda name: name == "elsewhere").problems == ()


def test_an_input_that_an_expression_gives_is_not_looked_into() -> None:
    text = """\
version: '2.0'
one: {input: [must], tasks: {t: {action: std.echo, input: <% $.must %>}}}
two: {input: [all], tasks: {t: {workflow: one, input: <% $.all %>}}}
"""
    assert check([Source("f", text)]).problems == ()


def test_reading_alone_finds_no_oddities() -> None:
    """`read` is for texts that were checked when they were deployed."""
    text = "version: '2.0'\nw: {tasks: {t: {action: std.nope x=<% $.nope %>}}}\n"
    assert read([Source("f", text)]).problems == ()
    assert len(check([Source("f", text)]).problems) == 2


# --- waits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ("timeout: 30, wait-before: 30", True),
        ("timeout: 30, wait-after: 40", True),
        ("timeout: 30, wait-before: 20, wait-after: 10", True),
        ("timeout: 31, wait-before: 20, wait-after: 10", False),
        ("timeout: 0, wait-before: 20", False),
        ("timeout: 30", False),
        ("timeout: <% 30 %>, wait-before: 40", False),
        # each attempt has a timeout of its own, which begins after the delay
        ("timeout: 30, retry: {count: 3, delay: 60}", False),
    ],
)
def test_timeout_that_its_own_waits_use_up_is_told(policies: str, told: bool) -> None:
    assert _told(f"    t: {{action: a, {policies}}}\n") == ([("short-timeout", 4)] if told else [])


def test_timeout_from_task_defaults_is_told_where_it_meets_the_wait() -> None:
    defaults = "  task-defaults: {timeout: 30}\n"
    tasks = "    t: {action: a, wait-before: 60}\n    u: {action: a, wait-before: 60, timeout: 90}\n"
    assert _told(tasks, defaults) == [("short-timeout", 5)]
    assert _told("    t: {action: a}\n    u: {action: a}\n", "  task-defaults: {timeout: 30, wait-after: 60}\n") == [
        ("short-timeout", 3)
    ]

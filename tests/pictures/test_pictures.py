"""Pictures of workflows: what each format shows, and that nothing in a name or guard can break it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind_server import lang
from tradewind_server.lang.chart import START, Chart, Edge, Node, draw
from tradewind_server.lang.documents import dump
from tradewind_server.pictures import Format, render
from tradewind_server.pictures.labels import COLOURS, SIGNS, edge_label, one_line
from tradewind_server.pictures.layout import Size, arrange

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"
STATES = {"fetch_base": "SUCCEEDED", "fetch_bonus": "FAILED", "approve_bonus": "RUNNING"}


def chart_of(text: str) -> Chart:
    """Return the chart of the only workflow in *text*."""
    checked = lang.check([lang.Source("file.yaml", text)])
    assert checked.is_valid, checked.problems
    return draw(checked.workflows[0])


def salary() -> Chart:
    """The process of the example."""
    return chart_of((ROOT / "examples" / "salary" / "salary.yaml").read_text())


# --- what is drawn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", Format)
def test_salary_is_drawn_as_it_was(form: Format) -> None:
    """After a change that is meant, `tradewind graph --format` makes the files anew."""
    folder = ROOT / "docs" if form is Format.SVG else GOLDEN  # that one is shown to readers
    assert render(salary(), form) == (folder / f"salary.{form}").read_text(encoding="utf-8")


def test_chart_has_guards_joins_loops_and_commands() -> None:
    """Everything that decides which way it goes."""
    chart = chart_of("""
version: '2.0'
w:
  task-defaults: {on-error: [d]}
  tasks:
    first: {on-error: noop, on-success: a}
    a:
      with-items: i in <% [1] %>
      workflow: child
      on-success: [b: <% $.x %>, fail(msg='why')]
      on-error: noop
    b:
      join: one
      on-complete: {next: [b, c]}
    c: {join: all, on-skip: a, on-success: b}
    d: {join: 2}
""")
    assert chart.nodes == (
        START,
        Node("task first", "task", "first", "std.noop"),
        Node("on-error 0 first", "command", "noop"),
        Node("task a", "task", "a", "child", calls_workflow=True, has_items=True),
        Node("on-success 1 a", "command", "fail", message="why"),
        Node("on-error 0 a", "command", "noop"),
        Node("task b", "task", "b", "std.noop", join="one"),
        Node("task c", "task", "c", "std.noop", join="all"),
        Node("task d", "task", "d", "std.noop", join="2"),
    )
    assert chart.edges == (
        Edge("start", "task first", "start"),
        Edge("task first", "task a", "on-success"),
        Edge("task first", "on-error 0 first", "on-error"),
        Edge("task a", "task b", "on-success", "<% $.x %>"),
        Edge("task a", "on-success 1 a", "on-success"),
        Edge("task a", "on-error 0 a", "on-error"),
        Edge("task b", "task d", "on-error"),
        Edge("task b", "task b", "on-complete", is_back=True),
        Edge("task b", "task c", "on-complete"),
        Edge("task c", "task b", "on-success", is_back=True),
        Edge("task c", "task d", "on-error"),
        Edge("task c", "task a", "on-skip", is_back=True),
    )


def test_reverse_workflow_is_drawn_in_the_direction_of_time() -> None:
    """From what is required to what requires it; those without requirements come first."""
    chart = chart_of(
        "version: '2.0'\nw:\n  type: reverse\n  tasks:\n    a: {requires: [b]}\n    b: {action: std.noop}\n"
    )
    assert chart.edges == (Edge("start", "task b", "start"), Edge("task b", "task a", "requires"))
    assert render(chart, Format.TEXT) == "w\n└─ b  std.noop\n   └─ a  std.noop\n"


LOOP = """
version: '2.0'
loop:
  tasks:
    ask: {action: shop.ask, on-success: [again: <% $.n > 0 %>, done: <% $.n = 0 %>]}
    again: {wait-before: 5, on-success: ask2}
    ask2: {action: shop.ask, on-success: [again: <% $.n > 0 %>], on-error: pause}
    done: {action: std.noop}
"""


def test_text_tells_each_task_once_and_points_back() -> None:
    """↺ leads back, ↑ elsewhere."""
    assert render(chart_of(LOOP), Format.TEXT, {"ask": "SUCCEEDED", "again": "DELAYED"}) == "\n".join(
        [
            "loop",
            "└─ ✓ ask  SUCCEEDED  shop.ask",
            "   ├─ <% $.n > 0 %>: ○ again  DELAYED  std.noop",
            "   │  └─ ask2  shop.ask",
            "   │     ├─ <% $.n > 0 %>: ○ again  ↺",
            "   │     └─ on-error: pause",
            "   └─ <% $.n = 0 %>: done  std.noop",
            "",
        ]
    )


def test_states_are_marked_in_every_format() -> None:
    """By sign and by colour."""
    found = {form: render(salary(), form, STATES) for form in Format}
    for name, state in STATES.items():
        label = f"{SIGNS[state]} {name}"
        assert all(label in picture for picture in found.values())
        assert f"classDef {state} fill:{COLOURS[state][0]}" in found[Format.MERMAID]
        assert re.search(f'label="{label}[^]]*fillcolor="{COLOURS[state][0]}"', found[Format.DOT])
        assert f'class="task {state}"' in found[Format.SVG]
        assert f".{state} .box {{ fill: {COLOURS[state][2]}" in found[Format.SVG]  # on dark ground
    assert all(sign not in render(salary(), form) for sign in SIGNS.values() for form in Format)


def test_loops_are_dashed() -> None:
    """Edges that lead back look different, one to the task itself too."""
    chart = chart_of(
        "version: '2.0'\nw:\n  tasks:\n    a: {on-success: b}\n    b: {on-success: [a2, b]}\n    a2: {on-success: b}\n"
    )
    assert [edge.is_back for edge in chart.edges] == [False, False, False, True, True]
    assert render(chart, Format.MERMAID).count("-.->") == 2
    assert render(chart, Format.DOT).count("style=dashed") == 2
    assert render(chart, Format.SVG).count('class="on-success back"') == 2


# --- everything once, whatever it is called ----------------------------------------------------------------------

NAMES = st.lists(
    st.sampled_from(
        ["a", "b", 'say "hi"', "<b>&amp;", "naïve 名前", "a-b", "1. one", "- item", "#35;", "%% comment", "`code`",
         "end", "\\N", "[x]", "it's", "--> n1", "noop2", "RIGHT\u202eLEFT", "tab\there"]
    ),
    min_size=1, max_size=8, unique=True,
)  # fmt: skip


@st.composite
def workflows(draw_: st.DrawFn) -> str:
    """A workflow with hostile names and guards, loops and commands."""
    names = draw_(NAMES)
    tasks: dict[str, object] = {}
    targets = st.sampled_from([*names, "fail", "noop"]).filter(lambda name: not re.search(r"\s", name))
    guards = st.sampled_from(["<% $.a = 'x\"y' %>", "{{ '<&>' in _.b and 1 < 2 }}", "<% not $.c\n  and true %>"])
    for name in names:
        clauses = draw_(st.lists(st.sampled_from(["on-success", "on-error", "on-complete", "on-skip"]), unique=True))
        task: dict[str, object] = {"action": 'std.echo output="<b>"'}
        for clause in clauses:
            following = draw_(st.lists(targets, max_size=3, unique=True))
            entries = [{target: draw_(guards)} if draw_(st.booleans()) else target for target in following]
            if entries:
                task[clause] = entries
        if draw_(st.booleans()) and task.keys() - {"action"}:
            task["with-items"] = "i in <% [1] %>"
        tasks[name] = task
    tasks["first task"] = {"action": "std.noop"}
    return dump({"version": "2.0", "w": {"tasks": tasks}})


@settings(max_examples=60)
@given(workflows())
def test_every_task_and_transition_is_drawn_once(text: str) -> None:
    """In every format, and nothing else is."""
    checked = lang.check([lang.Source("file.yaml", text)])
    assert checked.is_valid, checked.problems
    spec, chart = checked.workflows[0], draw(checked.workflows[0])
    clauses = [
        clause
        for task in spec.tasks.values()
        for clause in (task.on_success, task.on_error, task.on_complete, task.on_skip)
    ]
    assert Counter(node.label for node in chart.nodes if node.kind == "task") == Counter(list(spec.tasks))
    assert len(chart.edges) == len(spec.start_tasks) + sum(len(clause.next) for clause in clauses if clause)

    names = Counter(one_line(node.label, 120) for node in chart.nodes)
    labels = Counter(edge_label(edge) for edge in chart.edges if edge_label(edge))
    ids = {node.id: f"n{number}" for number, node in enumerate(chart.nodes)}
    edges = Counter((ids[edge.source], ids[edge.target], edge_label(edge)) for edge in chart.edges)
    assert mermaid_graph(render(chart, Format.MERMAID)) == (names, edges)
    assert dot_graph(render(chart, Format.DOT)) == (names, edges)
    assert svg_graph(render(chart, Format.SVG), names) == (names, labels, len(chart.edges))
    assert tree_lines(render(chart, Format.TEXT)) == expected_lines(chart)


Graph = tuple[Counter[str], Counter[tuple[str, str, str]]]


def mermaid_graph(text: str) -> Graph:
    """Read names and edges back, as mermaid would: a text ends at its quote, entities are signs."""
    nodes: Counter[str] = Counter()
    edges: Counter[tuple[str, str, str]] = Counter()
    first, *lines = text.splitlines()
    assert first == "flowchart TD"
    for line in lines:
        if node := re.fullmatch(r'    n\d+(?:\(\(|\(\[|\[\[|\[)"([^"]*)"(?:\)\)|\]\)|\]\]|\])', line):
            nodes[plain(node[1].split("<br/>")[0])] += 1
        elif edge := re.fullmatch(r'    (n\d+) -(?:-|\.-)>(?:\|"([^"]*)"\|)? (n\d+)', line):
            edges[edge[1], edge[3], plain(edge[2] or "")] += 1
        else:
            assert re.fullmatch(r"    linkStyle [\d,]+ stroke:#b3261e", line), line
    return nodes, edges


def plain(text: str) -> str:
    """Return a text of mermaid without entities, after looking that it has no sign that means something to it."""
    assert not re.search(r"[<>&\"'`%{}|()\[\]\\;*~]", re.sub(r"#\d+;", "", text))
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)


def dot_graph(text: str) -> Graph:
    """Read names and edges back, as Graphviz would."""
    quoted = r'"((?:[^"\\\n]|\\.)*)"'
    nodes: Counter[str] = Counter()
    edges: Counter[tuple[str, str, str]] = Counter()
    first, *lines, last = text.splitlines()
    assert re.fullmatch(rf"digraph {quoted} {{", first)
    assert last == "}"
    for line in lines:
        if node := re.match(rf"  n\d+ \[label={quoted}", line):
            nodes[unquoted(re.split(r"(?<!\\)(?:\\\\)*\\n", node[1])[0])] += 1
        elif edge := re.match(rf"  (n\d+) -> (n\d+)(?: \[label={quoted})?", line):
            edges[edge[1], edge[2], unquoted(edge[3] or "")] += 1
        else:
            assert line.startswith(("  node [", "  edge [")), line
    return nodes, edges


def unquoted(text: str) -> str:
    """Return a text of DOT without its escapes."""
    return re.sub(r"\\(.)", r"\1", text)


def svg_graph(text: str, names: Counter[str]) -> tuple[Counter[str], Counter[str], int]:
    """Read names, labels of edges and the number of edges back."""
    root = ET.fromstring(text)
    nodes = Counter(START.label for _ in root.iter(f"{SVG}circle"))
    labels: Counter[str] = Counter()
    for group in root.iter(f"{SVG}g"):
        texts = [element.text or "" for element in group.findall(f"{SVG}text")]
        kind = (group.get("class") or "").split(" ")[0]
        if kind in ("task", "command"):
            nodes[texts[0]] += 1
        elif texts:
            labels[texts[0]] += 1
    return nodes, labels, sum(path.get("class") == "edge" for path in root.iter(f"{SVG}path"))


def tree_lines(text: str) -> Counter[tuple[str, bool]]:
    """Return each line's text, up to where details follow, and whether it only points elsewhere."""
    _, *lines = text.splitlines()
    told = [re.sub(r"^[│├└─ ]*[├└]─ ", "", line) for line in lines]
    return Counter((line.split("  ")[0], line.endswith(("  ↺", "  ↑"))) for line in told)


def expected_lines(chart: Chart) -> Counter[tuple[str, bool]]:
    """One line for each edge, in full for the first that leads to a node from the start."""
    lines: Counter[str] = Counter()
    nodes = {node.id: node for node in chart.nodes}
    for edge in chart.edges:
        label, name = edge_label(edge), one_line(nodes[edge.target].label, 120)
        lines[f"{label}: {name}" if label else name] += 1
    text = render(chart, Format.TEXT)
    found = tree_lines(text)
    unreached = sum(found.values()) - len(chart.edges)
    assert sum(count for (_, points), count in found.items() if not points) == len(chart.nodes) - 1
    assert 0 <= unreached < len(chart.nodes)
    told = Counter[str]()
    for (line, _), count in found.items():
        told[line] += count
    assert not lines - told
    return found


@pytest.mark.parametrize("form", Format)
def test_hostile_name_breaks_nothing(form: Format) -> None:
    """Nothing that steers a terminal, ends a tag or turns the direction of writing comes through."""
    name = "\x1b[31m</text><script>alert(1)</script>\u202e\x00 & ]]> end"
    chart = Chart(name, (START, Node("t", "task", name, name), Node("c", "command", "fail", message=name)), (
        Edge("start", "t", "start"), Edge("t", "c", "on-success", name), Edge("t", "t", "on-error", name, is_back=True),
    ))  # fmt: skip
    picture = render(chart, form)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e]", picture)
    assert ("<script>" in picture) is (form in (Format.TEXT, Format.DOT))  # these two have no tags
    if form is Format.SVG:
        ET.fromstring(picture)


# --- layout ------------------------------------------------------------------------------------------------------


def test_nothing_overlaps_and_time_flows_down() -> None:
    """In a process of 30 tasks: boxes and labels stand apart, and only loops lead up."""
    tasks: dict[str, object] = {}
    for number in range(30):
        following: list[object] = [f"t{number + step}" for step in (1, 2 + number % 3, 7) if number + step < 30]
        if number % 10 == 9:
            following.append({f"t{number - 5}": "<% $.again %>"})
        tasks[f"t{number}"] = {"action": "std.noop", **({"on-success": following} if following else {})}
    chart = chart_of(dump({"version": "2.0", "w": {"tasks": tasks}}))
    sizes = {node.id: Size(80, 40) for node in chart.nodes}
    labels = {number: Size(90, 16) for number, edge in enumerate(chart.edges) if edge.guard}
    layout = arrange(chart, sizes, labels)
    boxes = [*layout.nodes.values()]
    boxes += [layout.routes[number][-2 if chart.edges[number].is_back else 1] for number in labels]
    for n, one in enumerate(boxes):
        for other in boxes[:n]:
            apart_x = abs(one.x - other.x) >= (one.size.width + other.size.width) / 2
            assert apart_x or abs(one.y - other.y) >= (one.size.height + other.size.height) / 2
    assert [edge.is_back for edge in chart.edges].count(True) == 3
    for edge in chart.edges:
        assert (layout.nodes[edge.source].y < layout.nodes[edge.target].y) is not edge.is_back
    assert all(box.x - box.size.width / 2 >= 0 and box.x + box.size.width / 2 <= layout.width for box in boxes)


def test_long_chain_is_drawn() -> None:
    """A thousand tasks one after the other, without recursion."""
    tasks = {f"t{n}": {"action": "std.noop", **({"on-success": f"t{n + 1}"} if n < 999 else {})} for n in range(1000)}
    chart = chart_of(dump({"version": "2.0", "w": {"tasks": tasks}}))
    assert render(chart, Format.TEXT).count("\n") == 1001
    assert ET.fromstring(render(chart, Format.SVG)).tag == f"{SVG}svg"

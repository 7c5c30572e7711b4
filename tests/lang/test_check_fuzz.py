"""Whatever the text, a check ends soon, within bounds, and says what is wrong."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.long import some_now
from tradewind_server.lang import Checked, Source, check

_SALARY = (Path(__file__).parents[2] / "examples" / "salary" / "salary.yaml").read_text(encoding="utf-8")
_HEAD = "version: '2.0'\nw:\n  tasks:\n"

#: Whatever the text, it takes no longer than so many ordinary definitions of 500 tasks, measured beside it: 2 s where
#: one of them takes 0.125 s. How fast machines are is no matter of tests; bench/results.md has the seconds.
_MOST_ORDINARY = 16
_MOST_BYTES = 500_000_000
#: Two thirds of the largest file, so that a slower machine passes too.
_LARGE = 700_000


def _checked(text: str) -> Checked:
    """Check a text; every problem has a place in it, a sentence and something to do."""
    checked = check([Source("f.yaml", text)])
    lines = text.count("\n") + 2
    for problem in checked.problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert problem.message.startswith("Expected ")
        assert problem.message.endswith(".")
        assert problem.fix.endswith((".", "?"))
        assert max(len(problem.message), len(problem.fix), len(problem.path)) <= 500
    return checked


@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=400))
def test_random_bytes_are_told_not_raised(data: bytes) -> None:
    _checked(data.decode("utf-8", "replace"))


#: Pieces that mean something in some place, so that mutations get past the first line.
_PIECES = st.sampled_from(
    [
        "\n",
        "  ",
        "\t",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "&a ",
        "*a",
        "<<: ",
        "|",
        ">",
        "#",
        "!x ",
        "---\n",
        "\0",
    ]
    + ["<% $.x %>", "<%", "%>", "{{ _.x }}", "{% if", "on-success", "join: all", "noop", "yes", "010", "1:30", ".inf"]
    + ["salary", "publish", "with-items", "task-defaults", "\ud83d", "\u2028", "é", "null", "~", "-1", "9" * 50]
)
_EDITS = st.lists(st.tuples(st.integers(0, len(_SALARY)), st.integers(0, 40), _PIECES), min_size=1, max_size=6)


@settings(max_examples=300, derandomize=True)
@given(_EDITS)
def test_a_damaged_definition_is_told_not_raised(edits: list[tuple[int, int, str]]) -> None:
    """Pieces are cut out of a real definition and others put in."""
    text = _SALARY
    for at, length, piece in edits:
        text = text[:at] + piece + text[at + length :]
    _checked(text)


@settings(max_examples=100, derandomize=True)
@given(st.permutations(_SALARY.splitlines(keepends=True)))
def test_lines_in_any_order_are_told_not_raised(lines: list[str]) -> None:
    _checked("".join(lines))


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def _lines(pattern: str, count: int = 100_000) -> str:
    """Return so many lines, as far as a file may be long."""
    lines = (pattern.replace("N", str(n)).replace("M", str(n + 1)) for n in range(count))
    text, size = [], 0
    for line in lines:
        size += len(line) + 1
        if size > _LARGE:
            break
        text.append(line)
    return "\n".join(text) + "\n"


def _one(pattern: str, first: str = "", last: str = "", *, where: str = "target", count: int = 0) -> str:
    """Return a definition with one text that repeats *pattern*, as long as a file may be."""
    count = count or (_LARGE - 200) // len(pattern)
    text = first + "".join(pattern.replace("N", str(n)) for n in range(count)) + last
    return _HEAD + f"    t: {{{where}: '{text}'}}\n"


_HUGE = {
    "bomb of aliases": _bomb(12),
    "nested lists": "[" * 100_000,
    "closed nested lists": "a: " + "[" * 50_000 + "]" * 50_000,
    "nested mappings": "".join(f"{' ' * n}a:\n" for n in range(1_400)),
    "nested flow mappings": "{a: " * 50_000,
    "nested parentheses": _HEAD + f"    t: {{action: a x=<% {'(' * 8_000}1{')' * 8_000} %>}}\n",
    "nested brackets of Jinja": _HEAD + f"    t: {{action: 'a x={{{{ {'[' * 8_000} }}}}'}}\n",
    "100,000 equal lines": "a: b\n" * 100_000,
    "100,000 items": "- a\n" * 100_000,
    "100,000 empty lines": "\n" * 100_000,
    "100,000 comments": "# a\n" * 100_000,
    "100,000 documents": "---\na\n" * 50_000,
    "100,000 keys": _lines("kN: v"),
    "100,000 booleans": "version: 2\nw:\n  x:\n" + _lines("  - no"),
    "chain": _HEAD + _lines("    tN: {on-success: tM}"),
    "tasks that are none": _HEAD + _lines("    tN: x"),
    "empty clauses": _HEAD + _lines("    tN: {publish: {v: N}, action: a x=<% $.v %>, on-success: }", 8_000),
    "unknown tasks": _HEAD + _lines("    tN: {on-success: uN}"),
    "unknown keywords": _HEAD + _lines("    tN: {acton: a}"),
    "unknown variables": _HEAD + _lines("    tN: {action: a x=<% $.vN %>}"),
    "broken expressions of Jinja": _HEAD + _lines("    tN: {action: 'a x={{ _.aN + N N }}'}", 4_000),
    "long broken texts of Jinja": _HEAD + _lines(f"    tN: {{action: 'a x=\"{'{{ 1 }} ' * 1_800}{{{{ N N }}}}\"'}}"),
    "one fan out": _HEAD
    + f"    s:\n      on-success: [{', '.join(f't{n}' for n in range(20_000))}]\n"
    + _lines("    tN: {action: a}", 20_000),
    "one fan in": _HEAD + _lines("    tN: {publish: {x: N}, on-success: j}", 15_000) + "    j: {join: all}\n",
    "circle": _HEAD
    + "    s: {on-success: t0}\n"
    + _lines("    tN: {publish: {vN: 1}, on-success: tM}", 12_000)
    + "    t12000: {on-success: t0}\n",
    "inputs": "version: 2\nw:\n  input:\n" + _lines("    - iN", 60_000),
    "items of one clause": _HEAD + "    t:\n      on-success:\n" + _lines("        - uN", 50_000),
    "actions": "version: 2\n" + _lines("aN: {base: std.ecoN}"),
    "workflows": "version: 2\n" + _lines("wN: {tasks: {t: {workflow: vN}}}"),
    "distinct expressions": _HEAD + _lines("    tN: {action: a x=<% $.aN + N > len($.bN) %>}"),
    "distinct expressions of Jinja": _HEAD + _lines("    tN: {action: 'a x={{ _.aN + N }}'}"),
    "deep expressions of Jinja": _HEAD + _lines(f"    tN: {{action: 'a x={{{{ N{'+1' * 80} }}}}'}}"),
    "long paths of Jinja": _HEAD + _lines(f"    tN: {{action: 'a x={{{{ xN{'.a' * 26} }}}}'}}"),
    "loops of Jinja": _HEAD + _lines("    tN: {action: 'a x=\"{% for x in _.lN %}{{ x.b }}{% endfor %}\"'}"),
    # These are just within the bounds, so that all of them is read and looked at.
    "longest chain": _HEAD + _lines("    tN: {publish: {vN: 1}, on-success: tM}", 9_998) + "    t9998: {action: a}\n",
    "most workflows": "version: 2\n" + _lines("wN: {tasks: {t: {workflow: vN}}}", 5_000),
    "most unknown variables": _HEAD + _lines("    tN: {action: a x=<% $.vN %>}", 9_999),
    "most expressions": _HEAD + _lines("    tN: {action: a x=<% $.aN + N > len($.bN) %>}", 8_500),
    "most expressions of Jinja": _HEAD + _lines("    tN: {action: 'a x={{ _.aN + N }}'}", 6_000),
    "more than may be": "# " + "a" * 1_048_576,
    "one long line": _HEAD + f"    t: {{action: a x='{'y' * 900_000}'}}\n",
    "one long expression": _HEAD + f"    t: {{action: a x=<% {'1 + ' * 4_000}1 %>}}\n",
    "open YAQL": _one("<% "),
    "open Jinja": _one("{{ "),
    "open blocks of Jinja": _one("{% "),
    "open Jinja behind YAQL": _one("{{ ", "<% 1 %> "),
    "open YAQL in a call": _one("a=<% ", where="action"),
    "open lists in a call": _one("a=[ ", where="action"),
    "open dictionaries in a call": _one("a={ ", where="action"),
    "open texts in a list in a call": _one('\\"', 'a=[ "', where="action"),
    "open lists in a retry": _one("count=[ ", where="retry"),
    "blanks in a list of items": _one(" ", "a in x", " y", where="with-items"),
    "blanks in quotes beside a call": _HEAD + _lines(f"    tN: {{action: \"a x=<% len('N{' ' * 16_000}') %>\"}}"),
    "words and dots beside a call": _HEAD + _lines(f"    tN: {{action: \"a x=<% len('N{' . a' * 4_000}') %>\"}}"),
    "numbers beside one too long": _HEAD
    + _lines(f"    tN: {{action: a x=<% N + {('9' * 999 + ' + ') * 14}{'9' * 1_200} %>}}"),
    "distinct variables in one text": _one("<% $.vN %>", count=70_000),
    "unknown keywords on one line": _HEAD
    + f"    t: {{{', '.join(f'k{n}: {chr(121) * 250}' for n in range(2_500))}}}\n",
    "unknown parameters of one call": _one(f"k{'y' * 100}N={'y' * 100} ", "std.http url=u ", where="action"),
    "unknown tasks that are asked for": _HEAD + _lines("    tN: {action: 'a x=<% task(uN).result %>'}", 8_000),
    "many expressions in one text": _HEAD + f"    t: {{action: a, input: {{x: '{'<% $.v %>' * 90_000}'}}}}\n",
}


_numbers = itertools.count()


def _ordinary_seconds() -> float:
    """Return what a definition of 500 tasks with three expressions each takes; no two of them are alike."""
    number = next(_numbers)
    step = f"    tN:\n      action: a x=<% $.n + {number}N %>\n      publish: {{n: <% task().result %>}}\n"
    step += f"      on-success: [{{tM: <% $.n > {number}N %>}}]"
    text = "version: '2.0'\nw:\n  input: [n]\n  tasks:\n" + _lines(step, 499) + "    t499: {action: a}\n"
    taken = _seconds(text)
    assert check([Source("f.yaml", text)]).problems == ()
    return taken


def _seconds(text: str) -> float:
    """Check a text; CPU time of this thread, so that what else the machine does counts little."""
    started = time.thread_time()
    _checked(text)
    return time.thread_time() - started


@pytest.fixture(scope="module")
def quick() -> float:
    """Give what an ordinary definition takes, measured once: to do so beside each text takes as long as the texts."""
    return _ordinary_seconds()


@pytest.mark.slow
@pytest.mark.parametrize("name", some_now(_HUGE))
def test_huge_and_hostile_texts_end_in_time(name: str, quick: float) -> None:
    taken, ordinary = _seconds(_HUGE[name]), quick
    if taken >= _MOST_ORDINARY * ordinary:
        # the machine may be slower than it was: measured again, one beside the other
        before, taken = _ordinary_seconds(), _seconds(_HUGE[name])
        ordinary = max(before, _ordinary_seconds())
    assert taken < _MOST_ORDINARY * ordinary


_BOUNDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
from tradewind_server.lang import Source, check
print(len(check([Source("f.yaml", sys.stdin.read())]).problems))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bomb of aliases", "nested lists", "chain", "circle", "100,000 equal lines"])
def test_memory_is_bounded(name: str) -> None:
    """A process that may have no more than so much ends as it should."""
    command = [sys.executable, "-c", _BOUNDED, str(_MOST_BYTES)]
    done = subprocess.run(command, input=_HUGE[name].encode(), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.strip().isdigit()


@pytest.mark.slow
def test_time_grows_with_the_text_and_not_with_its_square() -> None:
    """5,000 tasks that publish and read take about 10 times what 500 take; the square would be 100 times."""

    def measured(count: int) -> float:
        step = (
            "    tN:\n      action: a x=<% $.get(vN) %>\n      publish: {vM: <% task().result %>}\n      on-success: tM"
        )
        text = _HEAD + _lines(step, count) + f"    t{count}: {{action: a}}\n"
        started = time.thread_time()
        assert check([Source("f.yaml", text)]).problems == ()
        return time.thread_time() - started

    measured(500)
    assert measured(5_000) < min(_MOST_ORDINARY * _ordinary_seconds(), 30 * measured(500))

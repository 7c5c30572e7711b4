"""docs/diagnostics.md has a section for every code, and its examples show what a check says."""

from __future__ import annotations

import ast

import pytest

from tests.docs.blocks import blocks
from tests.house import rules
from tools import diagnostics_docs
from tradewind_server.lang import Source, check, reader
from tradewind_server.lang.expressions import effort, templates
from tradewind_server.lang.problems import CODES, MAX_PROBLEMS

_TEXT = diagnostics_docs.PAGE.read_text(encoding="utf-8")
_EXAMPLES = diagnostics_docs.examples(_TEXT)
#: An example of it would be longer than the page; each has a test of its own below.
_WITHOUT = {"too-many-problems", "too-many-expressions", "too-many-definitions"}


def test_every_code_has_a_section_and_every_section_a_code() -> None:
    assert list(_EXAMPLES) == list(dict.fromkeys(_EXAMPLES))
    assert set(_EXAMPLES) == set(CODES)
    assert {code for code, example in _EXAMPLES.items() if example is None} == _WITHOUT


@pytest.mark.parametrize("code", sorted(CODES.keys() - _WITHOUT))
def test_an_example_has_exactly_the_problem_of_its_section(code: str) -> None:
    example = _EXAMPLES[code]
    assert example is not None

    problems = diagnostics_docs.problems(example)

    assert [(problem.code, problem.severity) for problem in problems] == [(code, CODES[code].severity)]
    assert problems[0].fix != ""


def test_the_page_shows_what_a_check_says_and_where() -> None:
    """The place is in the block below each example: line, column, caret. Run `make pages`."""
    assert diagnostics_docs.filled(_TEXT) == _TEXT
    shown = [block for block in blocks(diagnostics_docs.PAGE) if block.language == "text"]
    assert len(shown) == len(CODES) - len(_WITHOUT)
    assert all(block.text.startswith("example.yaml:") for block in shown)


def test_a_flood_of_problems_is_cut() -> None:
    """Warnings stop at the bound, and the last line says how many are missing; an error after them is not lost."""
    words = "".join(f"        k{n}: yes\n" for n in range(MAX_PROBLEMS + 50))
    text = f"version: '2.0'\nw:\n  tasks:\n    t:\n      action: a\n      input:\n{words}      nonsense: 1\n"

    checked = check([Source("f.yaml", text)])

    assert not checked.is_valid
    assert [problem.code for problem in checked.problems[-2:]] == ["unknown-keyword", "too-many-problems"]
    assert "50 more" in checked.problems[-1].message
    assert len(checked.problems) == MAX_PROBLEMS + 2


@pytest.mark.parametrize("marks", [("<%", "%>"), ("{{", "}}")])
def test_a_flood_of_expressions_is_not_compiled(marks: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, whatever was compiled until then; the same text again is no work."""
    compiled: list[str] = []
    compile_text = templates._compile_text

    def counted(text: str) -> object:
        compiled.append(text)
        return compile_text(text)

    monkeypatch.setattr(templates, "_compile_text", counted)
    monkeypatch.setattr(effort, "MAX_EFFORT", 5_000)

    def definition(expressions: list[str], repeated: int = 1) -> Source:
        lists = ([text] * repeated for text in expressions)
        tasks = "".join(f"    t{n}: {{action: a, input: {{x: {texts}}}}}\n" for n, texts in enumerate(lists))
        return Source("f.yaml", f"version: '2.0'\nw:\n  tasks:\n{tasks}")

    # 47 tokens each
    different = [f"{marks[0]}[{n}{',1' * 22}]{marks[1]}" for n in range(200)]

    assert check([definition(different[:1], repeated=10_000)]).problems == ()
    compiled.clear()
    flood = check([definition(different)])

    assert [problem.code for problem in flood.problems] == ["too-many-expressions"]
    assert not flood.is_valid
    assert 10 < len([text for text in compiled if marks[0] in text]) == flood.problems[0].line - 4 < 100


def test_a_flood_of_tasks_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow with 9 tasks has 10 definitions; the 11th is told, and nothing is said of what was not read."""
    monkeypatch.setattr(reader, "MAX_DEFINITIONS", 10)

    def definition(tasks: int) -> Source:
        chain = "".join(f"    t{n}: {{on-success: t{n + 1}}}\n" for n in range(tasks - 1))
        return Source("f.yaml", f"version: '2.0'\nw:\n  tasks:\n{chain}    t{tasks - 1}: {{action: std.noop}}\n")

    assert check([definition(9)]).problems == ()
    flood = check([definition(1_000)])

    assert [(problem.code, problem.line) for problem in flood.problems] == [("too-many-definitions", 4 + 9)]
    assert not flood.is_valid


def test_every_code_that_is_reported_is_in_the_table() -> None:
    """A code that is misspelt where it is reported would have no section and no severity of its own."""
    reported = {
        argument.value
        for path in (rules.SERVER / "lang").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        for argument in call.args[:1]
        if call.func.attr in ("report", "report_name", "report_parameter", "report_call")
        and isinstance(argument, ast.Constant)
    }
    assert len(reported) > 40
    assert reported <= CODES.keys()

"""docs/language.md and docs/expressions.md: every example runs, and nothing of the language is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import Block, blocks
from tests.lang.conftest import FixedFacts
from tradewind_server.lang import Source as File
from tradewind_server.lang import check, documents, numbers, tasks, transitions, values, workflows
from tradewind_server.lang.checking import WORKBOOK
from tradewind_server.lang.expressions import Scope, budget, compile_template, yaql_expression, yaql_library
from tradewind_server.lang.expressions.jinja_sandbox import sandbox
from tradewind_server.lang.specs import EngineCommand
from tradewind_server.testing import cases, comparison

DOCS = Path(__file__).resolve().parents[2] / "docs"
LANGUAGE = DOCS / "language.md"
EXPRESSIONS = DOCS / "expressions.md"
HUMAN_TASKS = DOCS / "human_tasks.md"


def _examples(page: Path) -> Iterator[tuple[Block, Block | None]]:
    """Give each definition with the block of tests below it."""
    for block, following in pairwise([*blocks(page), None]):
        if block is not None and block.text.startswith("version:") and not block.directive:
            yield block, following if following is not None and following.text.startswith("cases:") else None


@pytest.mark.parametrize("page", [LANGUAGE, EXPRESSIONS, HUMAN_TASKS], ids=lambda page: page.name)
def test_every_example_comes_out_as_its_tests_say(page: Path, tmp_path: Path) -> None:
    """A definition and the block of tests below it are two files for `tradewind test`."""
    for definition, expected in _examples(page):
        assert expected is not None, f"{page.name}:{definition.line} has no tests"
        (tmp_path / f"line-{definition.line}.yaml").write_text(definition.text)
        (tmp_path / f"line-{definition.line}.test.yaml").write_text(expected.text)

    report = cases.run(_loaded(tmp_path))

    failed = [f"{Path(case.file).name} {case.name}: {line}" for case in report.results for line in case.differences]
    assert failed == []
    assert len(report.results) >= len(list(_examples(page)))


def _loaded(folder: Path) -> cases.Suite:
    suite = cases.load([folder])
    assert suite.problems == (), "\n".join(f"{Path(p.file).name}:{p.line}: {p.message}" for p in suite.problems)
    return suite


@pytest.mark.parametrize("page", [LANGUAGE, EXPRESSIONS, HUMAN_TASKS], ids=lambda page: page.name)
def test_no_example_has_a_warning(page: Path) -> None:
    """What a page shows is what a check would let pass without a word."""
    for definition, _ in _examples(page):
        told = [p for p in check([File("", definition.text)]).problems if p.severity != "hint"]
        assert [f"{page.name}:{definition.line + p.line}: {p.message}" for p in told] == []


def test_every_yaml_block_is_an_example() -> None:
    """Nothing is shown that is not run: what is saved, the commands of the page use."""
    examples = {block.line for pair in _examples(LANGUAGE) for block in pair if block is not None}
    shown = {block.line for block in blocks(LANGUAGE) if block.language == "yaml" and block.directive != "save"}
    assert shown - examples == set()


# --- tables of expressions ---------------------------------------------------------------------------------------

_LANGUAGES = {"YAQL": "<% {} %>", "Jinja": "{{{{ {} }}}}"}


def _rows() -> Iterator[tuple[int, str, str]]:
    """Give (line, template, what it gives) of all tables whose last column is "Gives"."""
    header: Sequence[str] = ()
    for number, line in enumerate(EXPRESSIONS.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells or "Gives" in cells:
            header = cells
        elif header and not set(line) <= set("| -"):
            for language, cell in zip(header[:-1], cells, strict=False):
                if cell:
                    yield number, _LANGUAGES[language].format(cell), cells[-1]


def _data() -> dict[str, object]:
    found = next(block for block in blocks(EXPRESSIONS) if block.directive == "data")
    value = documents.parse(found.text)
    assert isinstance(value, dict)
    return value


def test_expressions_of_the_tables_give_what_stands_beside_them() -> None:
    """Digits count: 1.50 is not 1.5. A check knows all that they call."""
    scope = Scope((_data(),), FixedFacts())
    rows = list(_rows())
    assert len(rows) > 200
    wrong: list[str] = []
    for line, template, gives in rows:
        compiled = compile_template(template)
        wrong += [f"line {line}: {each.names().unknown}" for each in compiled.expressions if each.names().unknown]
        found = compiled.evaluate(scope)
        wrong += comparison.differences(f"line {line}, {template}", values.decode(gives.encode()), found)
    assert wrong == []


def _yaql_names() -> Iterator[str]:
    layer: Any = yaql_library.context()
    while layer is not None:
        yield from layer._functions
        layer = layer.parent


def test_every_function_is_in_a_table_or_in_the_text() -> None:
    """A function, filter or test that works is written down."""
    text = EXPRESSIONS.read_text(encoding="utf-8")
    words = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    yaql = {name for name in _yaql_names() if name[0].isalpha()}
    jinja = {name for table in (sandbox().filters, sandbox().tests, sandbox().globals) for name in table}
    assert len(yaql) > 140
    assert yaql - words == set()
    assert {name for name in jinja if name[0].isalpha()} - words == set()


# --- tables of keywords ------------------------------------------------------------------------------------------


def _first_cells(heading: str) -> set[str]:
    """Return what stands in backticks in the first column of the table below a heading."""
    section = re.split(rf"^#+ {heading}$", LANGUAGE.read_text(encoding="utf-8"), flags=re.M)[1]
    section = re.split(r"^#", section, flags=re.M)[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {word for cell in first for word in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "keywords"),
    [
        ("Keywords of a workbook", WORKBOOK.keys() | {"version"}),
        ("Keywords of a workflow", workflows.WORKFLOW.keys()),
        ("Keywords of a task", tasks.DIRECT_TASK.keys() | tasks.REVERSE_TASK.keys()),
        ("Keywords of task-defaults", tasks.DEFAULTS.keys()),
        ("Keywords of a retry", tasks.RETRY.keys()),
        ("Keywords of an ad-hoc action", workflows.ACTION.keys()),
        ("Scopes of publishing", transitions.PUBLISH.keys()),
        ("Commands", {command.value for command in EngineCommand}),
    ],
)
def test_table_has_exactly_the_keywords_that_are_read(heading: str, keywords: set[str]) -> None:
    assert _first_cells(heading) == set(keywords)


def test_limits_of_the_page_are_those_of_the_code() -> None:
    """Numbers that no setting names."""
    section = LANGUAGE.read_text(encoding="utf-8").partition("\n## Limits\n")[2]
    for limit in (
        documents.MAX_SIZE,
        values.MAX_DEPTH,
        numbers.MAX_DIGITS,
        tasks.MAX_NAME,
        tasks.MAX_JOIN_NAME,
        budget.MAX_STEPS,
        budget.MAX_BYTES,
        budget.MAX_ITEMS,
        yaql_expression.MAX_EXPRESSION,
    ):
        assert re.search(rf"(?<![\d,]){limit:,}(?![\d,])", section), limit

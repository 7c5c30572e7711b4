"""The picture of a problem: its line, or what is around its place, and a caret that meets it."""

from __future__ import annotations

import contextlib
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tradewind_server.cli.output import Output
from tradewind_server.cli.problems import picture, show_problems
from tradewind_server.lang import Problem, Source, check
from tradewind_server.lang.lines import Lines


def _shown(line: str, column: int, width: int = 80) -> tuple[str, int]:
    """Return what is shown of a line, and the column of a terminal that the caret is in."""
    problem = Problem("unknown-keyword", "error", "f.yaml", 1, column, "", "Expected x.", "")
    _, source, caret = picture(problem, Lines(line), width).plain.split("\n")
    assert cell_len(source) <= width
    assert (source[:6], caret[:6]) == ("  1 | ", "    | ")
    return source[6:], caret.index("^") - 6


@given(st.text(alphabet="ab \t漢é🙂\u2028\u202e\u200b\x85\x1b\ufffd", max_size=400), st.data())
def test_the_caret_meets_its_sign_whatever_stands_before_it(before: str, data: st.DataObject) -> None:
    behind = data.draw(st.text(alphabet="ab漢\t", max_size=300))

    source, column = _shown(f"{before}X{behind}", len(before) + 1)

    assert cell_len(source[: source.index("X")]) == column


def test_a_line_that_fits_is_shown_whole() -> None:
    assert _shown("a: b", 4) == ("a: b", 3)
    assert _shown("y" * 74, 74) == ("y" * 74, 73)
    assert _shown("y" * 74, 75) == ("y" * 74, 74)


def test_of_a_long_line_what_is_around_the_place_is_shown() -> None:
    text = f"{'a' * 500}X{'b' * 500}"
    assert _shown(text, 501) == (f"…{'a' * 24}X{'b' * 47}…", 25)
    assert _shown(text, 2) == (f"{'a' * 73}…", 1)
    assert _shown(text, 1002) == (f"…{'b' * 24}", 25)


def test_what_a_terminal_would_obey_or_reorder_is_shown_as_a_stand_in() -> None:
    """Otherwise a line would look like another one, and the caret would point beside its sign."""
    assert _shown("a\u202eb\u2066c\x1b[2Jd\u2028e\x85f", 12) == ("a\ufffdb\ufffdc\ufffd[2Jd\ufffde\ufffdf", 11)


def _flood(separator: str, pad: str = "y" * 240) -> str:
    tasks = separator.join(f"t{n}: {{action: a, bad{n}: 1, publish: {{a: '{pad}'}}}}" for n in range(2_000))
    return f"{{version: '2.0', w: {{tasks: {{{tasks}}}}}}}\n"


def _seconds_to_show(text: str) -> float:
    sources = [Source("f.yaml", text)]
    problems = check(sources).problems
    assert len(problems) == 2_000
    with contextlib.redirect_stdout(io.StringIO()):
        output = Output(False)
        started = time.thread_time()
        show_problems(output, problems, sources)
        return time.thread_time() - started


@pytest.mark.slow
@pytest.mark.parametrize("pad", ["y" * 240, "\t" * 240, "漢" * 240], ids=["letters", "tabs", "wide"])
def test_a_flood_on_one_line_is_shown_about_as_fast_as_on_lines_of_their_own(pad: str) -> None:
    apart = min(_seconds_to_show(_flood(",\n", "y" * 20)) for _ in range(2))

    assert _seconds_to_show(_flood(", ", pad)) < 5 * apart

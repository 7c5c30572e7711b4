"""Files by which a server is set up, in YAML: read by tables of keywords, as definitions are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tradewind_server.lang import documents
from tradewind_server.lang.checking import Source
from tradewind_server.lang.problems import Problem, Problems
from tradewind_server.lang.reader import Keyword, Reader


class Unusable(Exception):
    """A file cannot be used; the text says where and why, a line for each problem."""


def read_file(path: str, keywords: Mapping[str, Keyword], what: str) -> dict[str, Any]:
    """Return what the file at *path* says, by keyword.

    Raises:
        Unusable: it cannot be read, or has problems.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as problem:
        raise Unusable(f"Expected {what} in '{path}', but {problem}.") from None
    return read_text(Source(path, text), keywords, what)


def read_text(source: Source, keywords: Mapping[str, Keyword], what: str) -> dict[str, Any]:
    """Return what *source* says, by keyword.

    Raises:
        Unusable: it has problems.
    """
    problems = Problems()
    loaded, broken = documents.load(source.text)
    for problem in broken:
        message = f"Expected YAML, but {problem.message}."
        place = problem.place
        problems.add(Problem(problem.code, "error", source.file_name, place.line, place.column, "", message))
    value: dict[str, Any] = {}
    if len(loaded) == 1:
        reader = Reader(source.file_name, loaded[0], problems)
        value = reader.table(loaded[0].value, (), keywords, what)
    found = [f"{p.file}:{p.line}:{p.column}: {p.message}" for p in problems.in_order()]
    if not found and len(loaded) != 1:
        found = [f"{source.file_name}: Expected one YAML document, but there are {len(loaded)}."]
    if found:
        raise Unusable("\n".join(found))
    return value
